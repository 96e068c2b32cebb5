"""Where in a user's own code an exception came from: the lines that its author can mend."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equigrid.errors import InputError
from equigrid.own_parts.imports import OURS, is_external

#: Frames that are said: more do not help in one line.
SAID = 3

_HERE = Path(__file__).resolve().parents[1]
#: Our own code; and where the interpreter and what is installed lie.
_OURS = (_HERE, _HERE.with_name("stages"))
_INSTALLED = tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
)


def last_frames(error: BaseException, count: int = SAID) -> str:
    """`net.py:12: self.fc(x) > net.py:30: return x @ w`, innermost last; empty without a frame.

    Only frames of the user's: outside our packages, Python's own and installed ones. Of a
    SyntaxError the line that is no Python comes last.
    """
    frames = [
        (frame.filename, frame.lineno or 0, frame.line or "")
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    ours = [n for n, (file, _, _) in enumerate(frames) if _lies_in(file, _OURS)]
    # What called us is not to blame for what we called.
    frames = frames[ours[0] :] if ours else frames
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0, error.text or ""))
    said = [
        f"{_shown(file)}:{line}" + (f": {' '.join(text.split())}" if text.strip() else "")
        for file, line, text in frames
        if _is_users(file)
    ]
    return " > ".join(said[-count:])


def in_one_line(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero (net.py:12: 1 / 0)`, printable, whatever it was."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    place = last_frames(error)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = " ".join(f"{said} ({place})".split() if place else said.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


@contextmanager
def users_code(part: str, *passed: type[Exception]) -> Iterator[None]:
    """Whatever the code of a part from outside raises becomes one line of InputError.

    passed: what goes through as it is. An error of a packaged part is ours: it keeps its traceback.
    """
    packaged = not is_external(part) or part.partition(":")[0].partition(".")[0] in OURS
    try:
        yield
    except (Exception, SystemExit) as error:
        if packaged or isinstance(error, (InputError, *passed)):
            raise
        raise InputError(f"{part}: {in_one_line(error)}") from error


def _is_users(file: str) -> bool:
    if file.startswith("<"):  # <string>, <frozen importlib._bootstrap>
        return False
    if {"site-packages", "dist-packages"} & set(Path(file).parts):
        return False
    return not _lies_in(file, _OURS + _INSTALLED)


def _lies_in(file: str, folders: tuple[Path, ...]) -> bool:
    path = Path(file).resolve()
    return any(path.is_relative_to(folder) for folder in folders)


def _shown(file: str) -> str:
    """Relative to the working folder where it lies below it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
