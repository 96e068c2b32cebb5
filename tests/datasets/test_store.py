"""Array files: whole and verified, or not there; damage is noticed, said once and repaired."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import content_hash, read_arrays, write_arrays
from equigrid.errors import DamagedFileError
from equigrid.planning.workspace import Workspace
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build

IDENTITY = {"kind": "test", "lr": 0.1}


def _arrays():
    random = np.random.default_rng(0)
    return {
        "train/images": random.integers(0, 256, size=(300, 2, 8, 8), dtype=np.uint8),
        "train/labels": random.integers(0, 9, size=300),
        "turned": random.normal(size=(6, 5)).astype(np.float32).T,  # not contiguous
        "none": np.zeros((0, 3)),
    }


@pytest.fixture
def stored(tmp_path):
    """The path of a sound file, and its digest."""
    path = tmp_path / "arrays.h5"
    return path, write_arrays(path, _arrays(), IDENTITY)


def test_a_round_trip_gives_mapped_read_only_arrays(stored):
    """Pages are shared between the processes of a node: memory maps, no copies."""
    path, digest = stored
    arrays, found = read_arrays(path, IDENTITY)
    assert found == digest == content_hash(_arrays(), IDENTITY)
    assert set(arrays) == set(_arrays())
    for name, expected in _arrays().items():
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == expected.dtype
        if expected.size:
            assert isinstance(arrays[name], np.memmap)
            assert not arrays[name].flags.writeable
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_hash_covers_names_types_shapes_values_and_identity():
    array = np.arange(6)
    different = [
        ({"a": array}, {"n": 1}),
        ({"b": array}, {"n": 1}),
        ({"a": array.reshape(2, 3)}, {"n": 1}),
        ({"a": array.view(np.uint64)}, {"n": 1}),
        ({"a": array[::-1].copy()}, {"n": 1}),
        ({"a": array}, {"n": 2}),
    ]
    assert len({content_hash(*each) for each in different}) == len(different)


def _bytes_of(path, name):
    """The file offsets of an array's bytes."""
    with h5py.File(path) as file:
        item = file[name]
        return item.id.get_offset(), item.id.get_storage_size()


def _overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _flip_a_bit(path):
    """In the middle of the largest array."""
    sizes: dict[str, int] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: sizes.update({name: getattr(item, "nbytes", 0)}))
    offset, size = _bytes_of(path, max(sizes, key=sizes.__getitem__))
    place = offset + size // 2
    _overwrite(path, place, bytes([path.read_bytes()[place] ^ 0x10]))


def _zero_an_array(path):
    """As a killed writer leaves it after one flush: the file opens and reads zeros."""
    offset, size = _bytes_of(path, "train/labels")
    _overwrite(path, offset, bytes(size))


def _other_shape(path):
    """A file with a sound label of its own digest, but an array of another shape."""
    with h5py.File(path, "r+") as file:
        labels = file["train/labels"][:10]
        del file["train/labels"]
        file["train/labels"] = labels


def _other_format(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 99


DAMAGE = {
    "a flipped bit": _flip_a_bit,
    "a zeroed array": _zero_an_array,
    "another shape": _other_shape,
    "another format": _other_format,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 100),
    "truncated to nothing": lambda path: os.truncate(path, 0),
    "all zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "no HDF5": lambda path: path.write_text("something else"),
    "no label": lambda path: h5py.File(path, "w").close(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_the_file_named(stored, damage):
    path, _ = stored
    DAMAGE[damage](path)
    with pytest.raises(DamagedFileError) as caught:
        read_arrays(path, IDENTITY)
    assert str(path) in str(caught.value)


@given(st.data())
def test_any_changed_byte_of_the_data_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("store") / "arrays.h5"
    write_arrays(path, _arrays(), IDENTITY)
    offset, size = _bytes_of(path, data.draw(st.sampled_from(["train/images", "turned"])))
    place = offset + data.draw(st.integers(0, size - 1))
    changed = path.read_bytes()[place] ^ data.draw(st.integers(1, 255))
    _overwrite(path, place, bytes([changed]))
    with pytest.raises(DamagedFileError):
        read_arrays(path, IDENTITY)


def test_a_file_of_something_else_is_noticed(stored):
    """A right file under a wrong name, or not the one that was verified before."""
    path, digest = stored
    with pytest.raises(DamagedFileError, match="holds something else"):
        read_arrays(path, {**IDENTITY, "lr": 0.2})
    assert read_arrays(path, expected_hash=digest)[1] == digest
    with pytest.raises(DamagedFileError, match="expected 000000000000"):
        read_arrays(path, expected_hash="0" * 64)


def _python(code, *arguments, prefix=()):
    """Run code in a process of its own, with the repository on its path."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
import h5py, numpy as np
from equigrid.datasets.store import write_arrays

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

step, create = sys.argv[2], h5py.File.create_dataset
if step == "second array":
    def create_then_die(file, name, **options):
        if name == "b":
            file.flush()
            die()
        return create(file, name, **options)
    h5py.File.create_dataset = create_then_die
else:
    setattr(os, step, die)
write_arrays(Path(sys.argv[1]), {"a": np.ones(100_000), "b": np.ones(9)}, {"n": 1})
"""


@pytest.mark.parametrize("step", ["second array", "fsync", "replace"])
def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path, step):
    """SIGKILL while writing, before the data is durable, before the file gets its name."""
    path = tmp_path / "arrays.h5"
    process = _python(KILLED_WRITER, path, step)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not path.exists()
    digest = write_arrays(path, _arrays(), IDENTITY)
    assert read_arrays(path, IDENTITY)[1] == digest


def test_a_file_that_reads_back_wrong_gets_no_name(tmp_path, monkeypatch):
    """A disk that stores something else than it was given: noticed before the file is named."""
    path, create = tmp_path / "arrays.h5", h5py.File.create_dataset

    def forgetful(file, name, data):
        return create(file, name, data=np.zeros_like(data))

    monkeypatch.setattr(h5py.File, "create_dataset", forgetful)
    with pytest.raises(DamagedFileError):
        write_arrays(path, _arrays(), IDENTITY)
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import json, resource, sys
from pathlib import Path
import numpy as np
from equigrid.datasets.store import read_arrays, write_arrays

folder = Path(sys.argv[1])
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
write_arrays(folder / "earlier.h5", {"a": np.arange(9)}, {"n": 1})
try:
    write_arrays(folder / "big.h5", {"a": np.ones(1_000_000, np.uint8)}, {"n": 2})
except OSError as error:
    told = {"errno": error.errno, "message": str(error)}
read_arrays(folder / "earlier.h5", {"n": 1})
print(json.dumps({**told, "files": sorted(path.name for path in folder.iterdir())}))
"""


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
def test_a_full_disk_is_an_error_that_names_the_path(tmp_path, kind):
    """Earlier files stay intact, nothing half-written stays. A real small disk where permitted."""
    if kind == "tmpfs":
        mount = f"mount -t tmpfs -o size=256k none '{tmp_path}'"
        tried = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True)
        if tried.returncode:
            pytest.skip("mounting a file system of one's own is not permitted here")
        prefix = ("unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh")
    else:
        prefix = ()
    process = _python(FULL_DISK, tmp_path, kind, prefix=prefix)
    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout)
    assert told["errno"] == (errno.ENOSPC if kind == "tmpfs" else errno.EFBIG)
    assert str(tmp_path / "big.h5") in told["message"]
    assert told["files"] == ["earlier.h5"]


@pytest.fixture
def built(tmp_path, recipe, quiet):
    """A workspace with both files of the tiny dataset, and how to run both stages on it."""
    workspace, raw = Workspace(tmp_path / "workspace"), RawStore(tmp_path / "raw")

    def stages():
        return augment_cache(workspace, recipe, data_build(workspace, recipe, raw, quiet), quiet)

    return workspace, stages, stages()


@pytest.mark.parametrize("which", ["data_file", "cache_file"])
@pytest.mark.parametrize(
    "damage", ["a flipped bit", "truncated", "truncated to nothing", "all zeros", "no label"]
)
def test_the_stages_rebuild_a_damaged_file_and_say_it_once(built, recipe, caplog, which, damage):
    workspace, stages, prepared = built
    path = getattr(workspace, which)(recipe)
    sound = path.read_bytes()
    DAMAGE[damage](path)
    with caplog.at_level("WARNING", logger="equigrid"):
        assert stages() == prepared
        assert stages() == prepared
    [warning] = caplog.records
    assert str(path) in warning.getMessage()
    assert "building it again" in warning.getMessage()
    read_arrays(path, expected_hash=None)
    assert len(path.read_bytes()) == len(sound)


def test_the_stages_leave_sound_files_alone(built, recipe):
    """Verified, not written again."""
    workspace, stages, prepared = built
    paths = (workspace.data_file(recipe), workspace.cache_file(recipe))
    before = [path.stat() for path in paths]
    assert stages() == prepared
    after = [path.stat() for path in paths]
    assert [(s.st_ino, s.st_mtime_ns) for s in before] == [(s.st_ino, s.st_mtime_ns) for s in after]


def test_the_cache_belongs_to_its_base_arrays(built, recipe, quiet, caplog):
    """A cache made from other base arrays (of the same recipe) is not taken."""
    workspace, _, prepared = built
    data = workspace.data_file(recipe)
    arrays, _ = read_arrays(data)
    changed = {name: np.array(array) for name, array in arrays.items()}
    changed["train/digits"][0, 0, 0, 0] ^= 1
    digest = write_arrays(data, changed, {"kind": "data", "recipe": recipe})
    assert digest != prepared.base_sha256
    again = augment_cache(workspace, recipe, digest, quiet)
    assert again.cache_sha256 != prepared.cache_sha256
    assert "holds something else" in caplog.text
