"""The command line: help with examples, exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spaces
import typer

from equigrid.cli import app
from equigrid.commands.train import resolve, resolve_file
from equigrid.errors import InputError
from equigrid.planning.workspace import Workspace

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_these_are_the_commands() -> None:
    assert COMMANDS == [
        "analyse", "compare", "doctor", "draft", "embed", "export", "import", "plan", "replay",
        "report", "run", "show", "status", "submit", "tables", "train", "ui", "verify",
    ]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_can_be_parsed(command: str, tmp_path: Path) -> None:
    text = spaces.in_this_process(command, "--help", folder=tmp_path).stdout
    examples = [line for line in text.splitlines() if f"equigrid {command}" in line]
    assert any("Example:" in line for line in examples)
    assert "Traceback" not in text


def test_help_and_version(tmp_path: Path) -> None:
    text = spaces.equigrid("--help", folder=tmp_path).stdout
    assert "Example: equigrid run quickstart" in text
    assert all(command in text for command in COMMANDS)
    assert spaces.equigrid("--version", folder=tmp_path).stdout.startswith("equigrid 0.")


def test_without_docstrings_it_is_refused_and_cases_without_asserts(tmp_path: Path) -> None:
    """Ray cannot be imported then; and the cases of `equigrid.testing` would all pass."""
    optimised = {"PYTHONOPTIMIZE": "2"}
    done = spaces.equigrid("plan", "quickstart", folder=tmp_path, expect=2, environ=optimised)
    assert "PYTHONOPTIMIZE=2" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run(
        [sys.executable, "-O", "-c", "import equigrid.testing"], cwd=tmp_path,
        env=spaces.environment(), text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: the cases are asserts")


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    done = spaces.equigrid(folder=tmp_path, expect=None)
    assert "Example: equigrid run quickstart" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["plan", "tiny.yaml"], ["tables", "nothing"]]
)
def test_what_should_be_quick_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    code = (
        f"import sys; sys.argv = ['equigrid', *{arguments!r}]\n"
        "from equigrid.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'mlflow', 'ray', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=spaces.environment(), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "set()"


def test_no_command_s_file_imports_anything_heavy() -> None:
    code = (
        "import sys, typer\n"
        "from equigrid.cli import app\n"
        "for command in typer.main.get_command(app).commands.values():\n"
        "    command.make_context(command.name, [], resilient_parsing=True)\n"
        "print({'torch', 'mlflow', 'ray', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout == "set()\n"


def trial_file(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    space = str(spaces.write(path.with_name("tiny.yaml")))
    trial = resolve(space, None, "CNN", "D1", ["lr=0.003"], 0, "grid").to_dict()
    change(trial)
    path.write_text(json.dumps(trial))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing"], "no search space 'nothing'; there are: "),
        (["run", "nothing.yaml"], "nothing.yaml: no such file"),
        (["run", "../nothing"], "../nothing: no such file"),
        (["run", "/dev/null"], "/dev/null: a pipe or a folder; a search space is a file"),
        (["run", "a\nb"], "is not a search space's name"),
        (["run", "a" * 65], "(65 characters) is not a search space's name: 1 to 64 letters"),
        (["run", f"{'a' * 256}.yaml"], "a name of 261 bytes; file systems take 255"),
        (["run", "tiny.yaml", "--workspace", "a" * 256], "a name of 256 bytes"),
        (["run", "tiny.yaml", "--workspace", f"{'a' * 250}/" * 2], "SQLite takes 500: use another"),
        (["run", "tiny.yaml", "--workspace", f"{'a' * 250}/" * 17], "; file systems take 4096"),
        (["run", "broken.yaml"], "broken.yaml:2: "),
        (["run", "tiny.yaml", "--profile", "large"], "no profile 'large'; it has: none"),
        (["run", "tiny.yaml", "--unknown"], "--unknown"),
        (["run"], "name"),
        (["nothing"], "nothing"),
        (["plan", "nothing"], "no search space 'nothing'"),
        (["tables", "nothing"], "no search space 'nothing'"),
        (["train"], "--row and --dataset, or --trial"),
        (["train", "tiny.yaml", "--row", "X", "--dataset", "D1"], "no row 'X'; there are: Chance,"),
        (
            ["train", "tiny.yaml", "--row", "CNN", "--dataset", "D1", "--set", "lr=fast"],
            "--set lr=f",
        ),
        (["train", "tiny.yaml", "--seed", "-1"], "--seed"),
        (["train", "--trial", "outside.json"], "outside.json: not a trial"),
        (["import", "nothing.json"], "nothing.json: cannot be read"),
        (["import", "."], ".: "),
        (["import", "tiny.yaml"], "tiny.yaml: not a valid record"),
        (["import"], "files"),
        (["ui"], "nothing is tracked here yet"),
        (["ui", "--port", "99999"], "--port"),
        (["doctor", "nothing"], "no search space 'nothing'"),
    ],
    ids=lambda value: " ".join(value).replace("\n", " ") if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    (tmp_path / "broken.yaml").write_text("rows: {}\nrows: {}\n")
    trial_file(tmp_path / "outside.json", lambda it: it["data"].update(builder="../x:Data"))
    before = sorted(tmp_path.rglob("*"))
    done = spaces.in_this_process(*arguments, folder=tmp_path, expect=None)
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("equigrid: ")
    assert said in lines[0]
    assert done.returncode == 2
    # Refused before any work.
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"row": None}, "--row and --dataset, or --trial"),
        ({"dataset": None}, "--row and --dataset, or --trial"),
        ({"row": "X"}, "no row 'X'; there are: Chance, CNN, Ours"),
        ({"dataset": "X"}, "no dataset 'X'; there are: D1"),
        ({"role": "best"}, "'best'; allowed: grid, final"),
        (
            {"given": ["lambda=1"]},
            "--set lr=… is missing: row 'Ours' takes --set lr=… --set",
        ),
        ({"given": ["lr=1"]}, "--set lambda=… is missing"),
        ({"row": "CNN"}, "--set lambda=0.5: row 'CNN' takes --set lr=…; allowed: lr, weight_decay"),
        ({"row": "Chance"}, "--set lr=0.003: row 'Chance' takes no --set"),
        ({"given": ["lr=-1"]}, "--set lr=-1: -1.0: Input should be greater than 0"),
        ({"given": ["lr=0"]}, "--set lr=0: 0: Input should be greater than 0"),
        ({"given": ["lr=nan"]}, "--set lr=nan: nan: "),
        ({"given": ["lr=inf"]}, "--set lr=inf: inf: "),
        ({"given": ["lr=1", "lambda=-0.5"]}, "--set lambda=-0.5: -0.5: "),
        ({"given": ["lr=1", "lambda=1", "width=1.5"]}, "--set width=1.5: 1.5: "),
    ],
)
def test_a_trial_in_words_is_checked(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    words: dict[str, Any] = {
        "name": str(spaces.write(tmp_path / "tiny.yaml")), "profile": None, "row": "Ours",
        "dataset": "D1", "given": ["lr=0.003", "lambda=0.5"], "seed": 0, "role": "grid",
    }  # fmt: skip
    assert resolve(**words).hyperparameters == {"lr": 0.003, "lambda": 0.5}
    with pytest.raises(InputError, match=re.escape(said)):
        resolve(**(words | changes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it.clear(), "missing"),
        (lambda it: it.update(row="../row"), "'../row' is not a name"),
        (lambda it: it["model"].update(name="no_such_model"), "unknown model 'no_such_model'"),
        (lambda it: it["model"].update(name="nowhere:Model"), "no module 'nowhere'"),
        (lambda it: it["objective"].update(name="nothing"), "unknown objective 'nothing'"),
        (lambda it: it["data"].update(version=99), "version 99"),
        (lambda it: it["data"].update(group="C4"), "two digits need a product"),
        (lambda it: it["data"]["parameters"].update(digits="many"), "digits"),
        (lambda it: it["data"]["raw"].update({"sklearn/digits.csv": "0" * 64}), "raw files"),
        (lambda it: it["training"].pop("epochs"), "epochs"),
        (lambda it: it["model"].update(name="majority"), "a trivial row has none"),
    ],
)
def test_a_trial_in_a_file_is_checked_before_any_work(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "trial.json"
    trial_file(path, lambda it: None)
    assert resolve_file(path).row == "CNN"
    trial_file(path, change)
    with pytest.raises(
        InputError, match=rf"trial\.json: not a trial: .*{re.escape(said)}"
    ) as caught:
        resolve_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"rows: {}", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_trial_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "trial.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"trial\.json: not a trial"):
        resolve_file(path)


def test_a_workspace_in_use_is_refused_by_name(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    with Workspace(tmp_path / "workspace").driver():
        done = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=tmp_path, expect=2)
    assert f"host {platform.node()}, pid {os.getpid()}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_workspace_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    done = spaces.equigrid(
        "run", "tiny.yaml", "--in-process", "--workspace", "tiny.yaml/below",
        folder=tmp_path, expect=None,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("equigrid: ")
    assert "tiny.yaml/below" in done.stderr


def listening(port: int) -> set[str]:
    """The addresses on which something listens on a port, as the kernel writes them."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {
        fields[1].partition(":")[0]
        for fields in lines
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"
    }


@pytest.mark.cluster
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_the_ui_answers_on_localhost_only(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    done = spaces.undisturbed(tmp_path_factory)
    store = tmp_path / "workspace" / "mlflow.db"
    store.parent.mkdir()
    store.write_bytes((done / "workspace" / "mlflow.db").read_bytes())
    port = spaces.free_port()
    process = spaces.start("ui", "--port", port, folder=tmp_path, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"MLflow UI: http://127.0.0.1:{port}\n"
        opens = f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning"
        assert process.stdout.readline() == f"  tiny: {opens}&viewStateShareKey=scores\n"
        deadline = time.monotonic() + spaces.PATIENCE
        while not listening(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert listening(port) == {"0100007F"}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert b"MLflow" in answer.read()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=spaces.PATIENCE)
        deadline = time.monotonic() + spaces.PATIENCE
        while listening(port) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert listening(port) == set()
    finally:
        spaces.end_session(process)


@pytest.mark.cluster
def test_the_doctor_finds_this_machine_well(tmp_path: Path) -> None:
    done = spaces.equigrid(
        "doctor", "ddmnist", folder=tmp_path, environ={"EQUIGRID_RAW_DIR": str(tmp_path / "raw")}
    )
    lines = done.stdout.splitlines()
    for part in ("Python", "torch", "mlflow", "ray", "Ray starts", "GB free", "MLflow"):
        assert any(part in line and line.startswith("✓") for line in lines), part
    # What a run would fetch is a warning with its place and source.
    missing = [n for n, line in enumerate(lines) if "train-images" in line and "not here" in line]
    assert lines[missing[0]].startswith("!")
    assert str(tmp_path / "raw") in lines[missing[0]]
    assert "https://" in lines[missing[0] + 1]
    assert not any(line.startswith("✗") for line in lines)


@pytest.mark.parametrize("store", ["http://someone:secret@127.0.0.1:9", "garbage"])
def test_the_doctor_says_what_to_do_about_a_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equigrid.commands import doctor

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if store == "garbage":
        (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    ((state, what, remedy),) = doctor._mlflow(Workspace(tmp_path))
    assert state == "problem"
    assert "secret" not in what
    assert remedy
