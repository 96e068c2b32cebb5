"""Raw files: used with a warning, fetched and verified, or missing with a clear word."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import struct
import threading
from functools import partial

import numpy as np
import pytest

from equigrid.datasets.digits import MNIST_FILES, SOURCES
from equigrid.datasets.raw import RawFile, RawStore, raw_folder, read_npz
from equigrid.errors import InputError, MissingRawDataError

CONTENT = b"raw content"
OFFICIAL = hashlib.sha256(CONTENT).hexdigest()
#: Nothing listens on this port of this machine: refused at once, without a network.
UNREACHABLE = "http://127.0.0.1:9/thing.gz"


@pytest.fixture
def store(tmp_path):
    return RawStore(tmp_path / "raw")


def _put(store, name, packed):
    path = store.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed)
    return path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A real web server on this machine: (its folder, its address)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Silent, directory=str(folder))
    )
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_the_raw_folder_is_the_environments_or_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIGRID_RAW_DIR", str(tmp_path))
    assert raw_folder() == tmp_path
    monkeypatch.delenv("EQUIGRID_RAW_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert raw_folder() == tmp_path / "cache" / "equigrid" / "raw"


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_an_official_file_is_used_without_a_word(store, caplog):
    """The checksum is of the content, so it may be packed anew."""
    file = RawFile("set/thing.gz", UNREACHABLE, OFFICIAL)
    _put(store, file.name, gzip.compress(CONTENT, compresslevel=1))
    assert store.content(file) == CONTENT
    assert store.fingerprint(file) == OFFICIAL
    assert caplog.text == ""


def test_a_file_put_there_by_hand_is_used_with_one_warning(store, caplog):
    """A checksum that is not the official one: warned of once, used, and tracked as it is."""
    file = RawFile("set/thing.gz", UNREACHABLE, OFFICIAL)
    path = _put(store, file.name, gzip.compress(b"something else"))
    found = hashlib.sha256(b"something else").hexdigest()
    assert store.fingerprint(file) == found
    assert store.content(file) == b"something else"
    assert store.content(file) == b"something else"
    [warning] = caplog.records
    assert warning.levelname == "WARNING"
    for part in (str(path), found[:12], OFFICIAL[:12]):
        assert part in warning.getMessage()


def test_a_missing_file_without_a_network_names_file_and_place(store, monkeypatch):
    """Before it is needed its fingerprint is the official one, so that plans can be made."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    file = RawFile("set/thing.gz", UNREACHABLE, OFFICIAL)
    assert store.fingerprint(file) == OFFICIAL
    with pytest.raises(MissingRawDataError) as caught:
        store.content(file)
    message = str(caught.value)
    for part in ("set/thing.gz is missing", str(store.folder / "set/thing.gz"), UNREACHABLE):
        assert part in message
    assert "\n" not in message
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_a_missing_file_is_fetched_and_verified(store, server):
    folder, address = server
    (folder / "thing.gz").write_bytes(gzip.compress(CONTENT))
    file = RawFile("set/thing.gz", f"{address}/thing.gz", OFFICIAL)
    assert store.content(file) == CONTENT
    (folder / "thing.gz").unlink()
    assert RawStore(store.folder).content(file) == CONTENT  # kept: not fetched again


@pytest.mark.parametrize(
    "sent", [gzip.compress(b"tampered with"), b"<html>not found</html>"], ids=["content", "page"]
)
def test_a_download_that_is_not_the_official_content_is_refused_and_removed(store, server, sent):
    """Else the next run would take it for a file put there by hand."""
    folder, address = server
    (folder / "thing.gz").write_bytes(sent)
    file = RawFile("set/thing.gz", f"{address}/thing.gz", OFFICIAL)
    with pytest.raises(MissingRawDataError, match=r"127\.0\.0\.1"):
        store.content(file)
    assert not (store.folder / file.name).exists()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("name", ["set.npz", "set.csv", "set.gz", "set.ttf"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Please log in", "an HTML page"),
        (b"<HTML><HEAD><TITLE>403", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "an XML page"),
        (LFS, "a pointer of Git LFS"),
        (b"", "an empty file"),
    ],
)
def test_what_was_saved_in_place_of_a_file_is_named(store, name, content, what):
    """Without a word of what a reader makes of it, or of the checksum."""
    path = _put(store, name, content)
    for url, origin, remedy in ((UNREACHABLE, "", f"fetched from {UNREACHABLE}"),
                                ("", "by mail", "put it there (by mail)")):  # fmt: skip
        file = RawFile(name, url, OFFICIAL, origin=origin)
        with pytest.raises(InputError) as caught:
            store.fingerprint(file)
        assert str(caught.value).startswith(f"{path}: {what}, not the file itself: remove it, and")
        assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<html>", "an HTML page, not an .npz file of arrays"),
        (b"1,2,3\n", r"begins with b'1,2,3\\n', not an .npz"),
        (b"\x80\x04]\x94.", r"begins with b'\\x80"),
        (_npz(a=np.array([{}], object)), "Python objects, not numbers"),
        (_npz(a=np.arange(9))[:90], "cut short, not"),
        (_npz(a=np.arange(9)).replace(b"NUMPY", b"NUMBY"), "damaged: "),
    ],
)  # fmt: skip
def test_what_is_no_npz_is_never_advised_to_be_unpickled(data, what):
    with pytest.raises(InputError, match=f"^here: .*{what}") as caught:
        read_npz(data, "here")
    assert "pickle" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_npz_is_read():
    (found,) = read_npz(_npz(a=np.arange(9)), "here").values()
    np.testing.assert_array_equal(found, np.arange(9))


def _truncated(packed):
    return packed[: len(packed) // 2]


def _altered(packed):
    """Head and end of a gzip, with something else between."""
    return packed[:10] + bytes(255 - byte for byte in packed[10:-8]) + packed[-8:]


@pytest.mark.parametrize("damage", [_truncated, _altered, lambda packed: b"plain text"])
def test_a_file_that_is_no_whole_gzip_is_named(store, damage):
    random = np.random.default_rng(0).bytes(5000)
    file = RawFile("thing.gz", UNREACHABLE, OFFICIAL)
    path = _put(store, file.name, damage(gzip.compress(random)))
    with pytest.raises(InputError, match="cannot be read as gzip") as caught:
        store.content(file)
    assert str(path) in str(caught.value)


def _idx(array):
    return (
        b"\0\0\x08"
        + bytes([array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + (array.astype(np.uint8).tobytes())
    )


@pytest.fixture
def small_mnist(store):
    """Four IDX files of 20 random digits each, in MNIST's places, by name."""
    random = np.random.default_rng(0)
    arrays = {}
    for file in MNIST_FILES:
        shape = (20, 28, 28) if "images" in file.name else (20,)
        arrays[file.name] = random.integers(0, 10, size=shape, dtype=np.uint8)
        _put(store, file.name, gzip.compress(_idx(arrays[file.name])))
    return arrays


def test_idx_files_are_read_as_they_are(store, small_mnist, caplog):
    """Images and labels of both splits, with a warning a file that is not the official one."""
    digits = SOURCES["mnist"].load(store)
    found = (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels)
    for array, file in zip(found, MNIST_FILES, strict=True):
        np.testing.assert_array_equal(array, small_mnist[file.name])
        assert store.fingerprint(file) != file.official
    assert len(caplog.records) == 4


@pytest.mark.parametrize(
    ("which", "content"),
    [
        pytest.param(0, b"no images at all", id="not IDX"),
        pytest.param(1, b"", id="empty"),
        pytest.param(0, _idx(np.zeros((20, 28, 28)))[:-1], id="a byte short"),
        pytest.param(1, _idx(np.zeros(20)) + b"\0", id="a byte too many"),
        pytest.param(0, b"\0\0\x0d" + _idx(np.zeros(20))[3:], id="of floats"),
        pytest.param(2, _idx(np.zeros(20)), id="labels in the place of images"),
        pytest.param(3, _idx(np.zeros((20, 28, 28))), id="images in the place of labels"),
        pytest.param(1, _idx(np.zeros(19)), id="a label short"),
        pytest.param(2, _idx(np.zeros((20, 14, 14))), id="images of another size"),
    ],
)
def test_a_raw_file_of_another_shape_is_named(store, small_mnist, which, content):
    file = MNIST_FILES[which]
    _put(store, file.name, gzip.compress(content))
    with pytest.raises(InputError) as caught:
        SOURCES["mnist"].load(store)
    assert file.name in str(caught.value)


def test_scikit_learns_digits_need_no_raw_folder(store, digits_builder):
    """Their fingerprint is of the packaged file's content."""
    [(name, digest)] = digits_builder().raw_fingerprints(store).items()
    assert name == "sklearn/digits.csv"
    assert digest == "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
    digits = SOURCES["digits"].load(store)
    assert (len(digits.train_images), len(digits.test_images)) == (1200, 597)
    assert digits.train_images.max() == 255
    assert not store.folder.exists()
