"""Stage 1: raw files → base arrays, one HDF5 file a data recipe."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from equigrid.datasets.builder import checked_arrays
from equigrid.datasets.raw import RawStore
from equigrid.datasets.recipe import builder_of, data_identity
from equigrid.datasets.store import Progress, read_arrays, write_arrays
from equigrid.errors import DamagedFileError
from equigrid.own_parts.user_errors import users_code
from equigrid.planning.workspace import Workspace

log = logging.getLogger("equigrid")


def data_build(
    workspace: Workspace, recipe: Mapping[str, Any], raw: RawStore, progress: Progress
) -> str:
    """Make the base arrays, or verify those that are there; returns their SHA-256.

    Raises MissingRawDataError where a raw file can neither be found nor fetched, InputError where
    a builder from outside the package fails.
    """
    path = workspace.data_file(recipe)
    with workspace.building(path):
        if path.exists():
            try:
                return read_arrays(path, data_identity(recipe))[1]
            except DamagedFileError as error:
                log.warning("%s; building it again", error)
        begun = time.monotonic()
        with users_code(recipe["builder"]):
            arrays = checked_arrays(builder_of(recipe).build(raw, progress))
        digest = write_arrays(path, arrays, data_identity(recipe))
        size = path.stat().st_size / 1e6
        log.info("built %s: %.1f MB in %.1f s", path.name, size, time.monotonic() - begun)
        return digest
