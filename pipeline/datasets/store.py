"""Arrays in HDF5: contiguous, written atomically, and read only when their hash is right."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from equigrid.errors import DamagedFileError
from equigrid.files import canonical_json, replacing

Arrays = Mapping[str, NDArray[Any]]
Progress = Callable[[int, int], None]

FORMAT = 1
_BLOCK = 1 << 24
#: Bytes that an HDF5 file of ours has besides its arrays, generously.
_METADATA = 1 << 16


def content_hash(arrays: Arrays, identity: Mapping[str, Any]) -> str:
    """SHA-256 over what the file is (identity) and every array's name, type, shape and bytes."""
    digest = hashlib.sha256(canonical_json(dict(identity)).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _BLOCK):
            digest.update(flat[start : start + _BLOCK].data)
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Arrays, identity: Mapping[str, Any]) -> str:
    """Write arrays with their identity; returns the content's SHA-256.

    The file appears under its name only after it was read back and found right.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    digest = content_hash(arrays, identity)
    with replacing(path) as temporary:
        _try_room(temporary, sum(array.nbytes for array in arrays.values()) + _METADATA)
        try:
            with h5py.File(temporary, "w") as file:
                file.attrs["format"] = FORMAT
                file.attrs["identity"] = canonical_json(dict(identity))
                file.attrs["content_sha256"] = digest
                for name, array in arrays.items():
                    file.create_dataset(name, data=array)
        except RuntimeError as error:
            # A full disk met while closing: h5py hides the OSError behind one of these.
            number = getattr(error.__context__, "errno", None) or errno.EIO
            raise OSError(number, str(error)) from error
        read_arrays(temporary, identity)
    return digest


def _try_room(path: Path, size: int) -> None:
    """Raise OSError where the disk has no room for a file: HDF5 may crash when it meets its end."""
    if not hasattr(os, "posix_fallocate"):
        return  # macOS cannot be asked for room
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(0)


def read_arrays(
    path: Path, identity: Mapping[str, Any] | None = None, *, expected_hash: str | None = None
) -> tuple[dict[str, NDArray[Any]], str]:
    """Memory-map every array of a file; returns them (read-only) and the content's SHA-256.

    With expected_hash (of a file verified before on this machine) the bytes are not hashed again.
    Raises DamagedFileError where the file cannot be opened or is not what is asked for.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT:
                raise DamagedFileError(f"{path}: format {file.attrs['format']}, expected {FORMAT}")
            stored_identity = str(file.attrs["identity"])
            stored_hash = str(file.attrs["content_sha256"])
            places: dict[str, tuple[Any, tuple[int, ...], int | None]] = {}

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    places[name] = (item.dtype, item.shape, item.id.get_offset())

            file.visititems(visit)
        arrays = {
            name: np.empty(shape, dtype)
            if offset is None
            else np.memmap(path, dtype, mode="r", shape=shape, offset=offset)
            for name, (dtype, shape, offset) in places.items()
        }
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DamagedFileError(f"{path}: cannot be read: {error}") from error
    if identity is not None and stored_identity != canonical_json(dict(identity)):
        raise DamagedFileError(f"{path}: holds something else than its name says")
    if expected_hash is not None:
        if stored_hash != expected_hash:
            raise DamagedFileError(
                f"{path}: content {stored_hash[:12]}, expected {expected_hash[:12]}"
            )
        return arrays, stored_hash
    found = content_hash(arrays, json.loads(stored_identity))
    if found != stored_hash:
        raise DamagedFileError(
            f"{path}: content hashes to {found[:12]}, its label is {stored_hash[:12]}"
        )
    return arrays, stored_hash


@dataclass(frozen=True)
class PreparedData:
    """The verified content hashes of a dataset's two files."""

    base_sha256: str
    cache_sha256: str
