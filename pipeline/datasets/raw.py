"""Raw files: where they lie, where they come from, and what their content must hash to."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import InputError, sha256

log = logging.getLogger("equigrid")


class MissingRawDataError(InputError):
    """A raw file is neither here nor to be had from its source."""


@dataclass(frozen=True)
class RawFile:
    """name: path below the raw folder. sha256: of the decompressed content, the official one."""

    name: str
    url: str
    sha256: str


def raw_folder() -> Path:
    """`EQUIGRID_RAW_DIR`, else a cache folder in the user's home."""
    if folder := os.environ.get("EQUIGRID_RAW_DIR"):
        return Path(folder).expanduser().resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "equigrid" / "raw"


class RawStore:
    """Reads raw files from one folder; downloads a missing one from its official source."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or raw_folder()
        self._hashes: dict[str, str] = {}

    def fingerprint(self, file: RawFile) -> str:
        """SHA-256 of the content here; the official one while the file is still to be fetched."""
        if file.name not in self._hashes:
            if not (self.folder / file.name).exists():
                return file.sha256
            self.content(file)
        return self._hashes[file.name]

    def content(self, file: RawFile) -> bytes:
        """The decompressed content; MissingRawDataError names file, place and source."""
        path = self.folder / file.name
        downloaded = not path.exists()
        if downloaded:
            self._download(file, path)
        try:
            data = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            if downloaded:
                path.unlink()
                raise MissingRawDataError(f"{file.url}: what came is no gzip: {error}") from error
            raise InputError(f"{path}: cannot be read as gzip: {error}") from error
        found = sha256(data)
        if found != file.sha256:
            if downloaded:
                path.unlink()
                raise MissingRawDataError(
                    f"{file.url}: content has SHA-256 {found}, not the official"
                )
            if file.name not in self._hashes:
                log.warning(
                    "%s: SHA-256 %s is not the official %s; used as it is, and tracked",
                    path, found[:12], file.sha256[:12],
                )  # fmt: skip
        self._hashes[file.name] = found
        return data

    def _download(self, file: RawFile, path: Path) -> None:
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
                f"could not be reached: {type(error).__name__})"
            ) from error
