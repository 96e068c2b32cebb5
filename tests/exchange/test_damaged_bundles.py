"""Bundles: whatever differs by a bit is refused, and nothing is written."""

from __future__ import annotations

import copy
import json
import pickle
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archives import (
    Entries,
    Made,
    archive,
    entries,
    info,
    manifest,
    members,
    refuses,
)
from hypothesis import given
from hypothesis import strategies as st

from equigrid.errors import InputError
from equigrid.exchange.bundle import parse_record
from equigrid.exchange.importing import import_files
from equigrid.planning.workspace import Workspace
from equigrid.record import Result
from equigrid.trial import Trial


def renamed(name: str) -> Callable[[Made], bytes]:
    """A record under another name, wherever the name is written."""
    return lambda made: archive(entries(
        members(made, **{made.record(): None}) | {name: made.contents[made.record()]}
    ))  # fmt: skip


def trials(change: Callable[[Any], object]) -> Callable[[Made], bytes]:
    """Other names for the records, with a manifest that fits."""

    def make(made: Made) -> bytes:
        listed = json.loads(made.contents["trials.json"])
        change(listed)
        return archive(entries(members(made) | {"trials.json": json.dumps(listed).encode()}))

    return make


def listing(change: Callable[[Any], object]) -> Callable[[Made], bytes]:
    """Another manifest over the same members."""
    return lambda made: archive(entries(members(made), manifest(members(made), change)))


def described(text: bytes) -> Callable[[Made], bytes]:
    return lambda made: archive(entries(members(made), text))


def holding(content: bytes) -> Callable[[Made], bytes]:
    """Another content of a record's member, in an otherwise proper bundle."""
    return lambda made: archive(entries(members(made, **{made.record(): content})))


def altered(
    change: Callable[[dict[str, Any]], object], row: str = "Ours"
) -> Callable[[Made], bytes]:
    """A changed record, with a manifest that fits it."""

    def make(made: Made) -> bytes:
        data = json.loads(made.contents[made.record(row)])
        change(data)
        return archive(entries(members(made, **{made.record(row): json.dumps(data).encode()})))

    return make


def stored(**fields: Any) -> Callable[[Made], bytes]:
    """One member stored in another way."""

    def make(made: Made) -> bytes:
        whole = entries(members(made))
        whole[3] = (info(whole[3][0].filename, **fields), whole[3][1])
        return archive(whole)

    return make


def patched(signature: bytes, offset: int, value: bytes) -> Callable[[Made], bytes]:
    """Bytes of the fourth header of a kind."""

    def make(made: Made) -> bytes:
        data, place = bytearray(made.data), -1
        for _ in range(4):
            place = made.data.index(signature, place + 1)
        data[place + offset : place + offset + len(value)] = value
        return bytes(data)

    return make


def moved(change: Callable[[Entries], Entries]) -> Callable[[Made], bytes]:
    return lambda made: archive(change(entries(members(made))))


class Evil:
    def __reduce__(self) -> Any:
        return (sys.exit, ("unpickled",))


def first_record(data: Any) -> Any:
    return next(it for name, it in sorted(data["members"].items()) if name.startswith("records/"))


LOCAL, ENTRY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
NEST: Any = []
for _ in range(400):
    NEST = [NEST]

#: name: (what makes the damaged bundle, what the refusal says)
DAMAGES: dict[str, tuple[Callable[[Made], bytes], str]] = {
    "parent folder": (renamed("../x"), "no member"),
    "parents within": (renamed("records/../../x.json"), "no member"),
    "absolute": (renamed("/abs"), "no member"),
    "drive": (renamed("C:\\x"), "no member"),
    "unknown name": (renamed("records/x.json"), "no member"),
    "large letters": (renamed(f"records/{'A' * 64}.json"), "no member"),
    "line break in a name": (renamed(f"records/{'a' * 64}.json\n"), "no member"),
    "control characters": (renamed("\x1b[2J\n" * 500), "no member"),
    "unknown table": (renamed("tables/curves.png"), "no member"),
    "another's name": (renamed(f"records/{'a' * 64}.json"), "holds the record of"),
    "two search spaces": (renamed("search_space/b.yaml"), "one search space"),
    "no search space": (
        lambda made: archive(entries(members(made, **{"search_space/tiny.yaml": None}))),
        "one search space",
    ),
    "no record": (
        lambda made: archive(entries({"search_space/tiny.yaml": b"x"})), "no record in it",
    ),
    "symlink": (stored(external_attr=0o120777 << 16), ".json: something else"),
    "executable": (stored(external_attr=0o100755 << 16), ".json: something else"),
    "compressed": (stored(compress_type=zipfile.ZIP_DEFLATED), ".json: "),
    "comment": (stored(comment=b"hello"), "something else"),
    "extra field": (stored(extra=b"\1\0\0\0"), ".json: "),
    "a later day": (stored(date_time=(2020, 1, 1, 0, 0, 0)), ".json: its header"),
    "bomb": (
        moved(lambda all: [*all[:3], (info(all[3][0].filename, compress_type=8), bytes(2**27)),
                           *all[4:]]),
        "altered or elsewhere",
    ),
    "manifest bomb": (
        moved(lambda all: [(info("manifest.json", compress_type=8), bytes(2**27)), *all[1:]]),
        "manifest.json: larger than 16 MiB",
    ),
    "encrypted": (patched(LOCAL, 6, b"\1\0"), ".json: its header"),
    "encrypted in the directory": (patched(ENTRY, 8, b"\1\0"), ".json: something else"),
    "another name in the header": (patched(LOCAL, 30, b"records/../../../x"), ".json: its header"),
    "another name in the directory": (patched(ENTRY, 46, b"/"), ".json: something else"),
    "huge size in the header": (patched(LOCAL, 22, b"\xff" * 4), ".json: its header"),
    "huge size in the directory": (patched(ENTRY, 24, b"\xff" * 4), ".json: something else"),
    "two entries of one content": (patched(ENTRY, 42, bytes(4)), ".json: something else"),
    "huge size in the manifest": (
        listing(lambda data: first_record(data).update(bytes=2**40)), "1099511627776 bytes"),
    "huge manifest": (lambda made: made.data[:22] + b"\xff" * 4 + made.data[26:], "larger than"),
    "size of another kind": (listing(lambda data: first_record(data).update(bytes=True)), "True"),
    "negative size": (listing(lambda data: first_record(data).update(bytes=-1)), "-1 bytes"),
    "wrong size": (listing(lambda data: first_record(data).update(bytes=5)), "altered"),
    "wrong hash": (listing(lambda data: first_record(data).update(sha256="0" * 64)), "altered"),
    "hash of another kind": (listing(lambda data: first_record(data).update(sha256=0)), "manifest"),
    "short hash": (listing(lambda data: first_record(data).update(sha256="0")), "not a SHA-256"),
    "unlisted member": (
        moved(lambda all: [*all, (info("tables/zzz"), b"x")]), "not listed"
    ),
    "missing member": (moved(lambda all: [*all[:3], *all[4:]]), "records/"),
    "member given twice": (moved(lambda all: [*all[:4], *all[3:]]), "records/"),
    "last member given twice": (moved(lambda all: [*all, all[-1]]), "given twice"),
    "another order": (moved(lambda all: [all[0], *all[:0:-1]]), "records/"),
    "manifest at the end": (moved(lambda all: [*all[1:], all[0]]), "manifest.json: its header"),
    "manifest missing": (moved(lambda all: all[1:]), "manifest.json: its header"),
    "manifest empty": (described(b""), "not a manifest"),
    "manifest not JSON": (described(b"{"), "not a manifest"),
    "manifest not text": (described(b"\xff\xfe{\0}\0"), "not a manifest"),
    "manifest a list": (described(b"[]"), "not a manifest"),
    "manifest nested": (described(b"[" * 1_000_000), "not a manifest"),
    "manifest a pickle": (described(pickle.dumps(Evil())), "not a manifest"),
    "another schema": (listing(lambda data: data.update(schema=2)), "schema 2, expected 1"),
    "schema of another kind": (listing(lambda data: data.update(schema=1.0)), "not as a bundle"),
    "no schema": (listing(lambda data: data.pop("schema")), "not a manifest: KeyError"),
    "no members": (listing(lambda data: data["members"].clear()), "no record"),
    "members a list": (listing(lambda data: data.update(members=[])), "not a manifest"),
    "key too many": (listing(lambda data: data.update(more=1)), "not as a bundle"),
    "about of another kind": (listing(lambda data: data["about"].update(missing=0)), "about"),
    "long and hostile schema": (listing(lambda data: data.update(schema="\r\n" * 9999)), "schema"),
    "pickle for a record": (holding(pickle.dumps(Evil())), "not a valid record"),
    "nothing for a record": (holding(b""), "not a valid record"),
    "nested record": (holding(b"[" * 1_000_000), "not a valid record"),
    "pickle for a table": (
        lambda made: archive(entries(members(made, **{"tables/table.csv": pickle.dumps(Evil())}))),
        "tables/table.csv: not text",
    ),
    "altered configuration": (altered(lambda it: it["trial"].update(seed=9)), "configuration"),
    "altered key": (altered(lambda it: it.update(key="0" * 64)), "configuration"),
    "altered score": (altered(lambda it: it["validation"].update(val_accuracy=1.0)), "best epoch"),
    "missing score": (
        altered(lambda it: [e.pop("val_accuracy") for e in (it["validation"], it["history"][2])]),
        "no score 'val_accuracy' to select by",
    ),
    "NaN": (altered(lambda it: it["history"][0].update(val_loss=float("nan"))), "finite"),
    "NaN where nothing was trained": (
        altered(lambda it: it["validation"].update(x=float("nan")), "Chance"), "not a valid record"
    ),
    "a time that is no time": (altered(lambda it: it.update(started=float("inf"))), "not a valid"),
    "a year that is none": (altered(lambda it: it.update(started=1e300)), "out of range"),
    "half a character": (
        altered(lambda it: it["environment"].update(hardware="\ud800")), "surrogates not allowed"
    ),
    "trial of a row with a path": (trials(lambda it: it[0].__setitem__(1, "../x")), "not a list"),
    "trial of another role": (trials(lambda it: it[0].__setitem__(3, "parent")), "not a list"),
    "trial of an experiment with a path": (trials(lambda it: it[0].__setitem__(0, "/x")), "not a"),
    "trial of no key": (trials(lambda it: it[0].__setitem__(4, "x" * 64)), "not a list of trials"),
    "trial with a number": (trials(lambda it: it[0].__setitem__(2, 3)), "not a list of trials"),
    "trial with a name too many": (trials(lambda it: it[0].append("x")), "not a list of trials"),
    "a list for the best epoch": (
        altered(lambda it: it.update(best_epoch=[]), "Chance"), "not a number"
    ),
    "a list for the weights": (altered(lambda it: it.update(weights_sha256=[])), "is a hash"),
    "huge number": (altered(lambda it: it["history"][0].update(val_loss=10**400)), "not a valid"),
    "empty test": (altered(lambda it: it.update(test={})), "test is a mapping"),
    "pairs for scores": (
        altered(lambda it: it.update(validation=list(it["validation"].items()))), "not a valid"
    ),
    "number for scores": (altered(lambda it: it.update(validation=3), "Chance"), "mappings"),
    "deep setting": (altered(lambda it: it["environment"].update(x=NEST)), "not a valid record"),
    "line break in a key": (altered(lambda it: it["trial"].update({"a\nb": 1})), "not a trial"),
    "name outside": (altered(lambda it: it["trial"].update(experiment="../x")), "not an exp"),
    "bytes in front": (lambda made: b"PK" + made.data, "not a bundle"),
    "byte behind": (lambda made: made.data + b"\0", "something was added"),
    "bundle behind": (lambda made: made.data + made.data, "something was added"),
    "comment of the file": (lambda made: made.data[:-2] + b"\1\0!", "its end"),
    "byte between": (
        lambda made: made.data[: (at := made.data.index(ENTRY))] + b"\0" + made.data[at:],
        "something else",
    ),
    "no directory": (lambda made: made.data[: made.data.index(ENTRY)], "something else"),
    "empty zip": (lambda made: made.data[made.data.index(END) :], "truncated, or not a bundle"),
    "two letters": (lambda made: b"PK", "truncated, or not a bundle"),
    "empty file": (lambda made: b"", "not a valid record"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_and_nothing_is_written(
    damage: str, made: Made, tmp_path: Path
) -> None:
    make, reason = DAMAGES[damage]
    refuses(make(made), tmp_path, reason)


def test_settings_that_nest_deeply_are_refused(made: Made) -> None:
    data = json.loads(made.contents[made.record()])
    data["trial"]["model"]["nest"] = NEST
    data["key"] = Trial.from_dict(data["trial"]).key
    with pytest.raises(InputError, match="here: not a valid record: settings nest deeper than 50"):
        parse_record(json.dumps(data).encode(), "here")


def test_a_manifest_with_a_key_given_twice_is_refused(made: Made, tmp_path: Path) -> None:
    text = made.contents["manifest.json"].replace(b'"schema": 1', b'"schema": 2,\n "schema": 1')
    refuses(archive(entries(members(made), text)), tmp_path, "not as a bundle has it")


def test_a_bad_file_keeps_the_good_ones_out(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "torn"
    path.write_bytes(made.data[:-1])
    with pytest.raises(InputError, match="torn"):
        import_files([made.path, path], Workspace(tmp_path / "workspace"))
    with pytest.raises(InputError, match="nowhere"):
        import_files([made.path, tmp_path / "nowhere"], Workspace(tmp_path / "workspace"))
    assert not (tmp_path / "workspace").exists()


# At random. A refusal is an InputError of one line; anything else fails the test.


def test_every_flipped_bit_is_refused(made: Made, tmp_path: Path) -> None:
    chance, data = random.Random(0), made.data
    directory = data.index(ENTRY)
    places = [chance.randrange(len(data)) for _ in range(150)]
    places += [chance.randrange(directory, len(data)) for _ in range(100)]
    places += list(range(30))
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        refuses(bytes(flipped), tmp_path)


def test_every_truncation_is_refused(made: Made, tmp_path: Path) -> None:
    data = made.data
    for length in (*range(0, len(data), 211), *range(len(data) - 60, len(data))):
        refuses(data[:length], tmp_path)


@given(st.data())
def test_pieces_cut_out_put_in_or_moved_are_refused(
    tmp_path_factory: pytest.TempPathFactory, made: Made, data: st.DataObject
) -> None:
    whole = made.data
    place = st.integers(0, len(whole))
    start, stop = sorted((data.draw(place), data.draw(place)))
    piece, target = data.draw(st.sampled_from([b"", whole[start:stop], b"\0", LOCAL])), start
    rest = whole[:start] + whole[stop:]
    if data.draw(st.booleans()):
        target = data.draw(st.integers(0, len(rest)))
    changed = rest[:target] + piece + rest[target:]
    if changed != whole:
        refuses(changed, tmp_path_factory.mktemp("moved"))


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers(),
    st.just(10**400), st.just([]), st.just({}), st.just(NEST), st.just("\ud800"),
    st.lists(st.tuples(st.text(max_size=2), st.integers()), max_size=2),
)  # fmt: skip


@given(st.data())
def test_any_value_anywhere_in_a_record_is_refused_or_usable(
    made: Made, data: st.DataObject
) -> None:
    row = data.draw(st.sampled_from(["Ours", "Chance"]))
    content = copy.deepcopy(json.loads(made.contents[made.record(row)]))
    part: Any = content
    while True:
        keys = sorted(part) if isinstance(part, dict) else list(range(len(part)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(part[key], dict | list) and part[key] and data.draw(st.booleans()):
            part = part[key]
            continue
        part[key] = data.draw(VALUES)
        break
    try:
        record = parse_record(json.dumps(content).encode(), "here")
    except InputError as error:
        text = str(error)
    else:
        text = "taken"
        again = parse_record(record.to_json().encode(), "there")
        assert again.to_json() == record.to_json()
        assert Result.of(again).key == record.trial.key
    assert text.isprintable()
