"""Durable files: written whole or not at all, hashed, and locked by the kernel."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from equigrid.errors import LockedError

#: Bytes that file systems take of a name, and of a path.
LONGEST_NAME, LONGEST_PATH = 255, 4096


def too_long(path: Path) -> str:
    """What is too long for a file system in a path, how long it is, and what is allowed; or ''."""
    name = max((os.fsencode(part) for part in path.parts), key=len, default=b"")
    whole = len(os.fsencode(path))
    if len(name) > LONGEST_NAME:
        text = f"a name of {len(name)} bytes; file systems take {LONGEST_NAME}"
    elif whole > LONGEST_PATH:
        text = f"a path of {whole} bytes; file systems take {LONGEST_PATH}"
    else:
        return ""
    return f"{str(path)[:64]}…: {text}"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and floats by repr; ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def flush_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path in the same folder; move it onto `path` when the block succeeds.

    An error inside leaves `path` as it was and removes the temporary file. An OSError (a full
    disk, say) is raised again with the path it concerns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            flush_folder(path.parent)
    except OSError as error:
        if error.filename is None:
            reason = " ".join(str(error.strerror or error).split())  # h5py's has line breaks
            free = shutil.disk_usage(path.parent).free
            message = f"{reason} (writing {path}; {free} bytes are free there)"
            raise OSError(error.errno, message) from error
        raise
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_atomically(path: Path, data: bytes | memoryview | str, *, durable: bool = True) -> None:
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def move(source: Path, target: Path) -> None:
    """Also onto another disk, where a folder of a workspace may be a link to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(target, durable=False) as temporary:
            shutil.copyfile(source, temporary)
        source.unlink()


def write_derived(path: Path, text: str) -> None:
    """Keep what can be derived again; where nothing may be written, nothing is kept."""
    try:
        write_atomically(path, text, durable=False)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


@contextmanager
def locked(path: Path, *, wait: bool, label: str = "") -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it when the holder dies.

    With wait=False a held lock raises LockedError with what the holder wrote into the file. An
    OSError names the path, and what to do where its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise LockedError(file.read().strip() or "an unnamed process") from None
        except OSError as error:
            raise _unlockable(path, error) from error
        file.truncate(0)
        file.write(label)
        file.flush()
        yield


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock; asking takes it from nobody."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise _unlockable(path, error) from error
    return False


def _unlockable(path: Path, error: OSError) -> OSError:
    """With the path, which the kernel's error of a lock lacks."""
    if error.filename is not None:
        return error
    remedy = "put the workspace (--workspace) on a disk whose file system has them"
    return OSError(error.errno, f"{error.strerror}: no file locks at {path}; {remedy}")
