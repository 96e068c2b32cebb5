"""Commands as another user of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import spaces

NOBODY = 65534
#: Without a name, a home or a line in the user database, as `docker run --user 4321` has it.
UNKNOWN = 4321

#: Imports whatever the command needs, as root; then another user runs it.
AS_ANOTHER = """
import os, sys
sys.path.insert(0, sys.argv[1])
import spaces
import equigrid.tracking.query
user, folder, rehearsal, *arguments = sys.argv[2:]
spaces.in_this_process(*arguments, folder=rehearsal, expect=None, drawn=True)
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
for name in ("HOME", "USER", "LOGNAME") if int(user) == 4321 else ():
    os.environ.pop(name, None)
done = spaces.in_this_process(*arguments, folder=folder, expect=None, drawn=True)
print(done.stdout, done.stderr, f"exit code {done.returncode}")
"""


@contextmanager
def where_others_enter(folder: Path) -> Iterator[Path]:
    """A copy of a folder outside this user's temporary one, which pytest closes to others."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(shutil.copytree(folder, Path(place) / "here"))


def run_as(
    user: int, *arguments: object, folder: Path, environ: Mapping[str, str] | None = None
) -> str:
    """What a command says, run in a folder by a user who may read everything here."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for place in map(Path, (sys.prefix, spaces.__file__)):
        if any(parent.stat().st_mode & 0o005 != 0o005 for parent in place.parents):
            pytest.skip(f"another user cannot enter {place.parent}, where the programs lie")
    rehearsal = folder.parent / "rehearsal"
    if not rehearsal.exists():
        shutil.copytree(folder, rehearsal)
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    home.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, str(Path(spaces.__file__).parent), str(user), folder,
         rehearsal, *map(str, arguments)],
        capture_output=True, text=True, check=False,
        env=spaces.environment(**{"HOME": str(home), "TMPDIR": str(home), **(environ or {})}),
    )  # fmt: skip
    return (done.stdout + done.stderr).strip()
