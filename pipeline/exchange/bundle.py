"""Portable bundles: the records, tables and search space of an experiment in one zip file.

A bundle has one layout. Its manifest comes first and gives the size and SHA-256 of every other
member; these follow in the order of their names, not compressed, with every header field fixed.
So the manifest determines the whole file: the same content gives the same bytes on any machine,
and reading is comparing. There is no archive to interpret, nothing to unpack, and whatever
differs by a bit is refused.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from equigrid.errors import InputError
from equigrid.files import replacing, sha256
from equigrid.record import Record
from equigrid.trial import FILE_NAME, NAME

#: Of the manifest and the layout.
SCHEMA = 1

#: Bytes; members besides the manifest (zip counts to 65 535).
LARGEST_MEMBER = 64 * 2**20
LARGEST_MANIFEST = 16 * 2**20
LARGEST_BUNDLE = 2 * 2**30
MOST_MEMBERS = 60_000

#: What every zip file begins with, and no JSON.
ZIP = b"PK"

MANIFEST = "manifest.json"
#: The names under which the records are tracked.
TRIALS = "trials.json"
#: A table's files; figures and further LaTeX are made again from the records. No more of them: an
#: older equigrid refuses a bundle with a member that it does not know.
TABLES = ("comparisons.csv", "grid.csv", "table.csv", "table.md", "table.tex")
_RECORD = re.compile(r"records/([0-9a-f]{64})\.json")
_TABLE = re.compile(rf"tables/({'|'.join(map(re.escape, TABLES))})")
_SPACE = re.compile(rf"search_space/{FILE_NAME.pattern}\.yaml")
_DIGEST = re.compile(r"[0-9a-f]{64}")

# The zip format's headers: of a member, of its entry in the directory, and of the end.
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_ZIP_VERSION, _UNIX = 20, 3 << 8
_MIDNIGHT, _FIRST_DAY = 0, 1 << 5 | 1  # 1980-01-01, where zip's time begins
_PLAIN_FILE = 0o100644 << 16

_LONGEST_LINE = 1000


class Place(NamedTuple):
    """Names under which a record's training is tracked."""

    experiment: str
    row: str
    dataset: str
    role: str
    key: str


class Member(NamedTuple):
    """size: bytes. offset: where in the bundle the content begins."""

    size: int
    sha256: str
    offset: int


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked to its last byte.

    about: who wrote what, in words. members: by name, without the manifest.
    """

    path: Path
    about: Mapping[str, str]
    members: Mapping[str, Member]

    def read(self, name: str) -> bytes:
        """A member's content; InputError where the file was changed since it was checked."""
        member = self.members[name]
        with self.path.open("rb") as file:
            file.seek(member.offset)
            content = file.read(member.size)
        if sha256(content) != member.sha256:
            raise InputError(f"{self.path}: {name}: changed while it was read")
        return content

    def records(self) -> Iterator[Record]:
        """One at a time: a bundle may be larger than the memory."""
        for name in self.members:
            if _RECORD.fullmatch(name):
                yield parse_record(self.read(name), f"{self.path}: {name}")

    def trials(self) -> list[Place]:
        """What each record was trained for; a training may serve several rows and both roles."""
        return [Place(*entry) for entry in json.loads(self.read(TRIALS))]


def write_bundle(path: Path, contents: Mapping[str, bytes], about: Mapping[str, str]) -> None:
    """Write members by name; InputError where a name, a size or their number is not allowed."""
    names = sorted(contents)
    listed = {name: (len(contents[name]), sha256(contents[name])) for name in names}
    try:
        _check(about, listed)
    except InputError as error:
        raise InputError(one_line(f"{path}: {error}")) from error
    directory, offset = bytearray(), 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        for name in (MANIFEST, *names):
            content = _manifest(about, listed) if name == MANIFEST else contents[name]
            file.write(_local(name, content) + content)
            directory += _entry(name, content, offset)
            offset = file.tell()
        file.write(directory + _end(1 + len(names), len(directory), offset))


def read_bundle(path: Path) -> Bundle:
    """Check a bundle wholly, one member in memory at a time.

    Raises InputError, one line with the file and the member, for anything that `write_bundle`
    would not have written, and for a record that is not one or not of the name it has.
    """
    try:
        with path.open("rb") as file:
            return Bundle(path, *_checked(file))
    except InputError as error:
        raise InputError(one_line(f"{path}: {error}")) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def parse_record(content: bytes, source: str) -> Record:
    """A record from elsewhere that every later step can use; InputError for any other."""
    try:
        record = Record.from_json(content.decode(), source)
        # Not all that JSON can say can be written: NaN, half a character.
        json.dumps(vars(record), default=vars, ensure_ascii=False, allow_nan=False).encode()
    except InputError as error:
        raise InputError(one_line(str(error))) from error
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise InputError(one_line(f"{source}: not a valid record: {error}")) from error
    return record


def is_bundle(path: Path) -> bool:
    """Whether a file begins as bundles do; says nothing of the rest."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(_LOCAL.size + len(MANIFEST))
    return header.startswith(ZIP) and header[_LOCAL.size :] == MANIFEST.encode()


def one_line(text: str) -> str:
    """What a stranger's file says, safe to show: no control characters, and not endless."""
    cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
    return "".join(letter if letter.isprintable() else " " for letter in cut)


def _checked(file: BinaryIO) -> tuple[dict[str, str], dict[str, Member]]:
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise InputError("truncated, or not a bundle")
    # The one number that is taken on trust, to know how much to compare.
    size = _LOCAL.unpack(header)[8]
    if size > LARGEST_MANIFEST:
        raise InputError(f"{MANIFEST}: larger than {LARGEST_MANIFEST >> 20} MiB, or not a bundle")
    file.seek(0)
    content = _next(file, MANIFEST, size)
    directory = [(MANIFEST, _entry(MANIFEST, content, 0))]
    about, listed = _parse_manifest(content)
    members = {}
    for name, (size, digest) in listed.items():
        offset = file.tell()
        content = _next(file, name, size, digest)
        _check_content(name, content)
        directory.append((name, _entry(name, content, offset)))
        members[name] = Member(size, digest, file.tell() - size)
    offset = file.tell()
    for name, entry in directory:
        if file.read(len(entry)) != entry:
            raise InputError(
                f"{name}: something else where its entry in the directory has to be: a link, "
                "a member given twice or not listed, encrypted or altered"
            )
    end = _end(len(directory), file.tell() - offset, offset)
    if file.read(len(end) + 1) != end:
        raise InputError("its end is not a bundle's: truncated, or something was added")
    return about, members


def _next(file: BinaryIO, name: str, size: int, digest: str | None = None) -> bytes:
    """The content of the member that has to be next in the file."""
    header = file.read(_LOCAL.size + len(name))
    content = file.read(size)
    if len(content) < size:
        raise InputError(f"{name}: truncated")
    if digest is not None and sha256(content) != digest:
        raise InputError(f"{name}: not the content of the manifest's SHA-256: altered or elsewhere")
    if header != _local(name, content):
        raise InputError(
            f"{name}: its header is not a bundle's: renamed, compressed, encrypted or altered"
        )
    return content


def _check_content(name: str, content: bytes) -> None:
    record = _RECORD.fullmatch(name)
    if record is not None:
        key = parse_record(content, name).key
        if key != record[1]:
            raise InputError(f"{name}: holds the record of {key[:12]}")
        return
    try:
        text = content.decode()
        if name == TRIALS:
            _check_trials(json.loads(text))
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not text: {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{name}: not a list of trials: {error}") from error


def _check_trials(entries: Any) -> None:
    """Names become paths and tags: raise ValueError for any that may not."""
    for entry in entries:
        place = Place(*entry)
        parts = place.experiment.split(".", 1)
        good = (
            all(map(FILE_NAME.fullmatch, parts)),
            all(map(NAME.fullmatch, (place.row, place.dataset))),
            place.role in ("grid", "final"),
            _DIGEST.fullmatch(place.key),
        )
        if not all(good):
            raise ValueError(f"{entry!r}")


#: Size and SHA-256 of each member, by name.
Listed = Mapping[str, tuple[int, str]]


def _manifest(about: Mapping[str, str], listed: Listed) -> bytes:
    members = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in listed.items()}
    content = {"schema": SCHEMA, "about": dict(about), "members": members}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _parse_manifest(content: bytes) -> tuple[dict[str, str], dict[str, tuple[int, str]]]:
    try:
        data = json.loads(content.decode())
        if data["schema"] != SCHEMA:
            raise InputError(f"{MANIFEST}: schema {data['schema']!r}, expected {SCHEMA}")
        about = dict(data["about"])
        listed = {name: (it["bytes"], it["sha256"]) for name, it in data["members"].items()}
        _check(about, listed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{MANIFEST}: not a manifest: {type(error).__name__}: {error}") from error
    if _manifest(about, listed) != content:  # a key too many or given twice, another order
        raise InputError(f"{MANIFEST}: not as a bundle has it")
    return about, listed


def _check(about: Mapping[str, str], listed: Listed) -> None:
    if len(listed) > MOST_MEMBERS:
        raise InputError(f"{len(listed)} members: more than {MOST_MEMBERS}")
    for name, (size, digest) in listed.items():
        allowed = name == TRIALS or any(p.fullmatch(name) for p in (_RECORD, _TABLE, _SPACE))
        if not allowed:
            raise InputError(f"{name[:80]!r}: no member of a bundle has this name")
        if type(size) is not int or not 0 <= size <= LARGEST_MEMBER:
            raise InputError(f"{name}: {size!r} bytes; allowed: at most {LARGEST_MEMBER >> 20} MiB")
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{name}: {digest!r} is not a SHA-256")
    total = sum(size for size, _ in listed.values())
    if total > LARGEST_BUNDLE:
        raise InputError(f"{total} bytes; allowed: at most {LARGEST_BUNDLE >> 20} MiB")
    if not any(map(_RECORD.fullmatch, listed)):
        raise InputError("no record in it")
    if len(list(filter(_SPACE.fullmatch, listed))) != 1:
        raise InputError("a bundle holds one search space")
    if TRIALS not in listed:
        raise InputError(f"{TRIALS} is missing")
    if not all(isinstance(text, str) for text in about.values()):
        raise InputError(f"{MANIFEST}: about: expected texts")


def _local(name: str, content: bytes) -> bytes:
    size = len(content)
    return _LOCAL.pack(
        b"PK\3\4", _ZIP_VERSION, 0, 0, _MIDNIGHT, _FIRST_DAY, zlib.crc32(content), size, size,
        len(name), 0,
    ) + name.encode()  # fmt: skip


def _entry(name: str, content: bytes, offset: int) -> bytes:
    size = len(content)
    return _ENTRY.pack(
        b"PK\1\2", _UNIX | _ZIP_VERSION, _ZIP_VERSION, 0, 0, _MIDNIGHT, _FIRST_DAY,
        zlib.crc32(content), size, size, len(name), 0, 0, 0, 0, _PLAIN_FILE, offset,
    ) + name.encode()  # fmt: skip


def _end(count: int, size: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
