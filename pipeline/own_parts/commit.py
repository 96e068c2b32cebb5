"""The git commit of a folder, whatever the environment tells git to look at."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path

NO_CHECKOUT = "not a checkout"
#: What is said in place of a commit that git does not tell begins so.
UNKNOWN = "unknown: "
SECONDS = 10
#: This package's checkout, if it runs from one.
_OURS = Path(__file__).resolve().parents[2]


def our_commit() -> str:
    """The commit that this package runs from; outside a checkout what EQUIGRID_COMMIT says."""
    if os.path.exists(_OURS / ".git"):
        return commit_of(_OURS)
    return os.environ.get("EQUIGRID_COMMIT") or NO_CHECKOUT


@lru_cache
def commit_of(folder: Path) -> str:
    """The git commit a folder belongs to; `+changes` where code or YAML in it is not committed.

    Where git does not tell it (a checkout of another user's, no git), `unknown: ` and why; of this
    package's own checkout what EQUIGRID_COMMIT says instead, if it is set.
    """
    checkout = next((it for it in (folder, *folder.parents) if os.path.exists(it / ".git")), None)
    # What git ignores, as an environment with packages, is no part of the checkout around it.
    if checkout is None or (folder != checkout and _git(folder, "check-ignore", "-q", ".")[0]):
        return NO_CHECKOUT
    is_told, commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not is_told:
        instead = os.environ.get("EQUIGRID_COMMIT") if checkout == _OURS else None
        return instead or f"{UNKNOWN}{commit}"
    changed = "--untracked-files=normal", "--", "*.py", "*.yaml", "*.yml"
    is_told, changes = _git(folder, "status", "--porcelain", *changed)
    if not is_told:
        return f"{commit}, changes {UNKNOWN}{changes}"
    return f"{commit}+changes" if changes else commit


def _git(folder: Path, *command: str) -> tuple[bool, str]:
    """Whether git did it, and what it printed; or why not.

    Without its variables, as a hook has them, which name another repository; and without its locks,
    so that a user's own git never waits for it.
    """
    environment = {name: it for name, it in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command],
            capture_output=True, text=True, timeout=SECONDS, check=False, env=environment,
        )  # fmt: skip
    except FileNotFoundError:
        return False, "git is not installed"
    except subprocess.TimeoutExpired:
        return False, f"git has not answered within {SECONDS} s"
    except OSError as error:
        return False, f"git: {error.strerror}"
    if done.returncode:
        first = next(iter(done.stderr.splitlines()), f"git: exit code {done.returncode}")
        return False, first.removeprefix("fatal: ")
    return True, done.stdout.strip()
