"""The commit of a folder is its own, or a reason is recorded in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from equigrid.own_parts import commit
from equigrid.own_parts.commit import commit_of, our_commit


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    commit_of.cache_clear()


def _repository(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "space.yaml").write_text("rows: {}\n")
    (folder / ".gitignore").write_text(".venv/\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    environment = {name: it for name, it in os.environ.items() if not name.startswith("GIT_")}
    commands = ["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", folder.name]
    for command in (*commands, ["rev-parse", "HEAD"]):
        done = subprocess.run(["git", "-C", str(folder), *command], env=environment,
                              capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.strip()


def test_gits_variables_do_not_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook's GIT_DIR named another repository's commit, without a word."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    head = _repository(ours)
    _repository(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert commit_of(ours) == head
    (ours / "own.py").write_text("")
    commit_of.cache_clear()
    assert commit_of(ours) == f"{head}+changes"


def test_what_git_ignores_has_no_commit(tmp_path: Path) -> None:
    """The packaged search spaces of an environment within somebody's checkout."""
    _repository(tmp_path / "ours")
    packaged = tmp_path / "ours" / ".venv" / "search_spaces"
    packaged.mkdir(parents=True)
    assert commit_of(packaged) == commit_of(tmp_path) == "not a checkout"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_commit_that_git_does_not_tell_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ours"
    _repository(folder)
    os.chown(folder, 12345, 12345)
    monkeypatch.setenv("HOME", str(tmp_path))  # where nothing is declared safe
    refused = f"unknown: detected dubious ownership in repository at '{folder}'"
    assert commit_of(folder) == refused
    monkeypatch.setenv("EQUIGRID_COMMIT", "abc")
    commit_of.cache_clear()
    assert commit_of(folder) == refused  # that names the package's, which this is not
    monkeypatch.setattr(commit, "_OURS", folder)
    commit_of.cache_clear()
    assert our_commit() == "abc"


def test_without_git_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _repository(tmp_path / "ours")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert commit_of(tmp_path / "ours") == "unknown: git is not installed"
    assert commit_of(tmp_path) == "not a checkout"
