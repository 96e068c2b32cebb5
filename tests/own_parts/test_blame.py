"""Errors in a user's own code: their lines are said, ours and the interpreter's are not."""

from __future__ import annotations

import sys

import pytest

from equigrid.errors import InputError
from equigrid.lookup import load
from equigrid.own_parts.user_errors import in_one_line, last_frames, users_code

NET = """\
import json

def inner():
    return json.loads("{") # fails

def outer():
    return inner()
"""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Modules as a search space has them beside it; forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("blamed_"):
            del sys.modules[name]


def test_the_users_frames_are_said_innermost_last(beside):
    """The json module's own frames come after them and are left out."""
    (beside / "blamed_net.py").write_text(NET)
    outer = load("blamed_net:outer")
    with pytest.raises(ValueError, match="Expecting") as caught:
        outer()
    frames = last_frames(caught.value, 2)
    file = beside / "blamed_net.py"
    assert frames == f'{file}:7: return inner() > {file}:4: return json.loads("{{") # fails'
    assert last_frames(caught.value, 1) == f'{file}:4: return json.loads("{{") # fails'


def test_a_path_below_the_working_folder_is_said_from_there(beside, monkeypatch):
    monkeypatch.chdir(beside)
    (beside / "blamed_here.py").write_text(NET)
    outer = load("blamed_here:outer")
    with pytest.raises(ValueError, match="Expecting") as caught:
        outer()
    assert last_frames(caught.value, 1).startswith("blamed_here.py:4: ")


def test_who_called_us_is_not_to_blame():
    """An error of ours has no frame of the user's, though a user's script may have called us."""
    with pytest.raises(InputError) as caught:
        load("no_such_module:Net")
    assert last_frames(caught.value) == ""


@pytest.mark.parametrize(
    ("source", "says", "line"),
    [
        ("x = (\n", "SyntaxError", 1),
        ("\nraise RuntimeError('two\\nlines \\x1b')\n", r"RuntimeError: two lines \x1b", 2),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
    ],
)
def test_whatever_a_module_raises_is_one_printable_line(beside, source, says, line):
    file = beside / "blamed_module.py"
    file.write_text(source)
    with pytest.raises(InputError) as caught, users_code("blamed_module:Net"):
        __import__("blamed_module")
    message = str(caught.value)
    assert message.startswith("blamed_module:Net: ")
    assert says in message
    assert f"{file}:{line}: " in message
    assert message.isprintable()


def test_an_error_without_text_is_its_name():
    assert in_one_line(ValueError()) == "ValueError"
