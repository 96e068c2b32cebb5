"""Stage 2: base arrays → what is expensive about the group's action, in HDF5."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from equigrid.datasets.builder import checked_arrays
from equigrid.datasets.recipe import builder_of, cache_identity
from equigrid.datasets.store import PreparedData, Progress, read_arrays, write_arrays
from equigrid.errors import DamagedFileError
from equigrid.own_parts.user_errors import users_code
from equigrid.planning.workspace import Workspace

log = logging.getLogger("equigrid")


def augment_cache(
    workspace: Workspace, recipe: Mapping[str, Any], base_sha256: str, progress: Progress
) -> PreparedData:
    """Make the augmentation cache of a dataset, or verify the one that is there."""
    identity = cache_identity(recipe, base_sha256)
    path = workspace.cache_file(recipe)
    with workspace.building(path):
        if path.exists():
            try:
                return PreparedData(base_sha256, read_arrays(path, identity)[1])
            except DamagedFileError as error:
                log.warning("%s; building it again", error)
        begun = time.monotonic()
        base, _ = read_arrays(workspace.data_file(recipe), expected_hash=base_sha256)
        with users_code(recipe["builder"]):
            arrays = checked_arrays(builder_of(recipe).augment(base, progress))
        digest = write_arrays(path, arrays, identity)
        size = path.stat().st_size / 1e6
        log.info("cached %s: %.1f MB in %.1f s", path.name, size, time.monotonic() - begun)
        return PreparedData(base_sha256, digest)
