"""Raw files: where they lie, where they come from, and what their content must hash to."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equigrid.errors import InputError, MissingRawDataError
from equigrid.files import sha256
from equigrid.machine import cache_folder, expanded

log = logging.getLogger("equigrid")


#: Said once a process: (path, SHA-256).
_warned: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class RawFile:
    """name: path below the raw folder; one that ends in .gz is decompressed, unless kept packed.

    url: of its official source; empty where it is nobody's to download, and `origin` says what to
    put there. official: the checksum of the (decompressed) content, a SHA-256, or where the source
    gives no other `md5:` and an MD5; empty where none is known. beside: a file of the user's,
    looked for beside the search space first.
    """

    name: str
    url: str
    official: str
    packed: bool = False
    origin: str = ""
    beside: bool = False

    def checksum(self, content: bytes) -> str:
        """In the form of the official one."""
        if self.official.startswith("md5:"):
            return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"
        return sha256(content)


def short_checksum(checksum: str) -> str:
    kind, _, digits = checksum.rpartition(":")
    return f"{kind}:{digits[:12]}" if kind else digits[:12]


def _instead(data: bytes, name: str) -> str:
    """What was saved in place of a raw file, as a browser or a clone does; empty where nothing."""
    begin = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    markup = name.lower().endswith((".html", ".htm", ".xml", ".svg"))
    if begin.startswith((b"<!doctype html", b"<html", b"<head")) and not markup:
        return "an HTML page"
    if begin.startswith(b"<?xml") and not markup:
        return "an XML page"
    if begin.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS"
    return "" if data else "an empty file"


def read_npz(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz; InputError names the source and says what its bytes are instead."""
    wrong = _instead(data, source)
    if wrong or not zipfile.is_zipfile(io.BytesIO(data)):
        cut = "cut short" if data.startswith(b"PK") else f"begins with {data[:16]!r}"
        raise InputError(f"{source}: {wrong or cut}, not an .npz file of arrays")
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            for name in file.files:
                arrays[name] = np.asarray(file[name])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy advises to allow Python objects, which run code: they are none of our data.
        holds = "Python objects, not numbers" if "pickle" in str(error) else f"damaged: {error}"
        raise InputError(f"{source}: not an .npz file of arrays: {holds}") from error
    return arrays


def raw_folder() -> Path:
    """`EQUIGRID_RAW_DIR`, else a cache folder in the user's home."""
    if folder := os.environ.get("EQUIGRID_RAW_DIR"):
        return expanded(Path(folder)).resolve()
    return cache_folder() / "raw"


class RawStore:
    """Reads raw files from one folder; downloads a missing one from its official source.

    absent: checksums of files, by name, that count where a file is not here, for the official ones.
    beside: the folder of the search space.
    """

    def __init__(
        self,
        folder: Path | None = None,
        absent: Mapping[str, str] | None = None,
        beside: Path | None = None,
    ) -> None:
        self.folder, self.absent, self.beside = folder or raw_folder(), absent or {}, beside
        self._hashes: dict[str, str] = {}

    def place(self, file: RawFile) -> Path:
        """Where a raw file lies, or is to lie."""
        if file.beside and self.beside is not None:
            here = self.beside / file.name
            if here.exists() or not (self.folder / file.name).exists():
                return here
        return self.folder / file.name

    def fingerprint(self, file: RawFile) -> str:
        """The official checksum where the content has it or is still to be fetched, else SHA-256.

        So a plan, and a status on another machine, have the same keys with and without the file.
        """
        if file.name not in self._hashes:
            if not self.place(file).exists():
                return self.absent.get(file.name, file.official)
            self.content(file)
        return self._hashes[file.name]

    def content(self, file: RawFile) -> bytes:
        """The decompressed content; MissingRawDataError names file, place and source."""
        path = self.place(file)
        downloaded = not path.exists()
        if downloaded:
            self._download(file, path)
        data = path.read_bytes()
        if wrong := _instead(data, file.name):
            if downloaded:
                path.unlink()
                raise MissingRawDataError(f"{file.url}: what came is {wrong}")
            then = f"it is fetched from {file.url}" if file.url else f"put it there ({file.origin})"
            raise InputError(f"{path}: {wrong}, not the file itself: remove it, and {then}")
        try:
            data = gzip.decompress(data) if path.suffix == ".gz" and not file.packed else data
        except (OSError, EOFError, zlib.error) as error:
            if downloaded:
                path.unlink()
                raise MissingRawDataError(f"{file.url}: what came is no gzip: {error}") from error
            raise InputError(f"{path}: cannot be read as gzip: {error}") from error
        found = file.official
        if (checksum := file.checksum(data)) != file.official:
            if downloaded:
                path.unlink()
                raise MissingRawDataError(
                    f"{file.url}: content has checksum {checksum}, not the official {file.official}"
                )
            found = sha256(data)
            if file.official and (path, found) not in _warned:
                _warned.add((path, found))
                log.warning(
                    "%s: checksum %s is not the official %s; used as it is, its SHA-256 %s tracked",
                    path, short_checksum(checksum), short_checksum(file.official), found[:12],
                )  # fmt: skip
        self._hashes[file.name] = found
        return data

    def _download(self, file: RawFile, path: Path) -> None:
        if not file.url:
            raise MissingRawDataError(f"{file.name} is missing: put it at {path} ({file.origin})")
        import pooch

        log.info("fetching %s from %s", file.name, file.url)
        try:
            # The hash of the packed file varies between mirrors; the content's is checked above.
            pooch.retrieve(
                file.url, known_hash=None, fname=path.name, path=path.parent, progressbar=True
            )
        except (OSError, ValueError) as error:
            raise MissingRawDataError(
                f"{file.name} is missing: put it at {path} (its source {file.url} "
                f"could not be fetched: {type(error).__name__})"
            ) from error
