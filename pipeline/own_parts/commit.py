"""The git commit of a folder."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path


@lru_cache
def commit_of(folder: Path) -> str:
    """The git commit a folder belongs to; `+changes` where code or YAML in it is not committed."""
    command = ["git", "-C", str(folder)]
    changed = ["status", "--porcelain", "--", "*.py", "*.yaml", "*.yml"]
    try:
        commit, changes = (
            subprocess.run(
                [*command, *more], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for more in (["rev-parse", "HEAD"], changed)
        )
    except (OSError, subprocess.SubprocessError):
        return "not a checkout"
    return f"{commit}+changes" if changes else commit
