"""Dispatchers: every trial ends with a record or a reason, whatever happens to the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import spaces
from lots import EPOCHS, Lot, MakeDispatcher, Told, timeless

from equigrid.files import sha256
from equigrid.orchestration.dispatch import Slice
from equigrid.orchestration.in_process import InProcess
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial

RETRIES = 1


@pytest.fixture(scope="module")
def expected(lot: Lot, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The good and the slow trials, run one after another, undisturbed."""
    workspace = lot.fresh(tmp_path_factory.mktemp("expected") / "workspace")
    trials = [*lot.trials["good"], *lot.trials["slow"]]
    InProcess(workspace, RETRIES).run(trials, lot.prepared, Told())
    return workspace


@pytest.fixture(scope="module")
def ran(
    dispatcher: MakeDispatcher, lot: Lot, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, list[Trial], Told]:
    """The same trials in another order, and under Ray side by side."""
    workspace, told = lot.fresh(tmp_path_factory.mktemp("ran") / "workspace"), Told()
    trials = [*lot.trials["slow"], *lot.trials["good"]][::-1]
    dispatcher(workspace).run(trials, lot.prepared, told)
    return workspace, trials, told


def test_every_trial_gets_a_record_whatever_the_order(
    ran: tuple[Workspace, list[Trial], Told], expected: Workspace, dispatcher: MakeDispatcher
) -> None:
    workspace, trials, told = ran
    has_terminal = isinstance(dispatcher(workspace), InProcess)
    for trial in trials:
        assert told.end(trial).state == "finished"
        record = workspace.record(trial.key)
        assert record is not None
        # Every epoch is reported once, in order.
        assert [row for piece in told.slices[trial.key] for row in piece.epochs] == list(
            record.history
        )
        assert timeless(workspace, trial) == timeless(expected, trial)
        weights = [it.weights_file(trial.key).read_bytes() for it in (workspace, expected)]
        assert weights[0] == weights[1]
        # How it ended, and the files it left, are here wherever it was trained.
        assert workspace.state_file(trial).exists()
        mood = (workspace.run_files / trial.key / "mood.txt").read_bytes()
        assert record.artifacts == {"mood.txt": sha256(mood)}
        assert mood.decode() == trial.model["mood"]
        printed = workspace.printed_file(trial.key)
        if has_terminal:
            assert not printed.exists()
        else:
            assert printed.read_text() == f"{mood.decode()} at last\n"


def test_finished_trials_are_not_trained_again(
    dispatcher: MakeDispatcher, lot: Lot, ran: tuple[Workspace, list[Trial], Told]
) -> None:
    workspace, trials, _ = ran
    before = spaces.tree(workspace.root, ("records", "weights"))
    steps = len(lot.steps("good"))
    dispatcher(workspace).run(trials, lot.prepared, told := Told())
    assert {told.end(trial).state for trial in trials} == {"finished"}
    assert len(lot.steps("good")) == steps
    assert spaces.tree(workspace.root, ("records", "weights")) == before


def test_failing_trials_are_retried_and_quarantined_and_leave_the_others_alone(
    dispatcher: MakeDispatcher, lot: Lot, expected: Workspace, tmp_path: Path
) -> None:
    workspace, told = lot.fresh(tmp_path / "workspace"), Told()
    good = lot.trials["good"]
    raises, offline, nan = (lot.trials[name][0] for name in ("raises", "offline", "nan"))
    dispatcher(workspace).run([good[0], raises, offline, nan, good[1]], lot.prepared, told)
    for bad, attempts, reason in (
        (raises, 1, "RuntimeError: this model only works on Tuesdays ("),
        (offline, RETRIES + 1, "ConnectionError: a disk far away ("),
        (nan, 1, "TrainingDivergedError: train_loss is nan in epoch 1"),
    ):
        said = told.end(bad).reason
        assert told.end(bad).state == "failed"
        assert said.startswith(reason)  # then the lines of the model's own code
        assert len(lot.steps(bad.row)) == attempts
        failure = workspace.failure(bad.key)
        assert failure is not None
        assert (failure.trial, failure.reason, failure.attempts) == (bad, said, attempts)
        assert "Traceback" in failure.details
        assert workspace.record(bad.key) is None
    for trial in good:
        assert told.end(trial).state == "finished"
        assert timeless(workspace, trial) == timeless(expected, trial)
        assert workspace.failure(trial.key) is None


def test_a_first_batch_tells_what_cannot_train_and_leaves_nothing(
    dispatcher: MakeDispatcher, lot: Lot, tmp_path: Path
) -> None:
    """What may be the machine's fault (a connection, a process that ends) is for the trial."""
    workspace = lot.fresh(tmp_path / "workspace")
    before = spaces.tree(workspace.root, ("records", "weights", "quarantine", "states"))
    moods = ("good", "raises", "offline", "nan")
    trials = [lot.trials[mood][0] for mood in moods]
    found = {it.trial.row: it for it in dispatcher(workspace).try_batches(trials, lot.prepared)}
    assert found.keys() == {"raises", "nan"}
    said = "on its first batch: RuntimeError: this model only works on Tuesdays ("
    assert found["raises"].reason.startswith(said)
    assert "Traceback" in found["raises"].details
    assert found["nan"].reason.endswith("the loss is nan before the first step")
    assert [len(lot.steps(mood)) for mood in moods] == [1, 1, 1, 1]
    assert spaces.tree(workspace.root, ("records", "weights", "quarantine", "states")) == before


@pytest.mark.cluster
def test_slices_grow_where_the_driver_is_behind_and_only_there() -> None:
    from equigrid.orchestration.ray_tune import LONGEST_SLICE, SliceLength

    length, now = SliceLength(), 100.0
    for waited, expected in ((0.0, 1), (0.09, 1), (0.11, 2), (0.19, 2), (0.5, 4), (0.3, 4)):
        now += waited
        assert length.begin(now) == expected
        now += expected
        length.end(now)
    # From one trial to the next there is more to do: that counts for nothing.
    length.rest()
    assert length.begin(now + 1000) == 4
    for _ in range(10):
        length.end(now)
        now += 1000
        longest = length.begin(now)
    assert longest == LONGEST_SLICE


@pytest.mark.cluster
def test_a_trial_that_kills_its_process_is_quarantined_and_leaves_the_others_alone(
    ray_tune: MakeDispatcher, lot: Lot, expected: Workspace, tmp_path: Path
) -> None:
    workspace, told = lot.fresh(tmp_path / "workspace"), Told()
    bad, good = lot.trials["dies"][0], lot.trials["good"]
    ray_tune(workspace).run([bad, *good], lot.prepared, told)
    assert told.end(bad).state == "failed"
    failure = workspace.failure(bad.key)
    assert failure is not None
    assert failure.reason.startswith(f"its process died {RETRIES + 1} times")
    assert failure.attempts == RETRIES + 1
    # Each attempt was a process of its own.
    assert len(lot.steps("dies")) == len(set(lot.steps("dies"))) == RETRIES + 1
    for trial in good:
        assert told.end(trial).state == "finished"
        assert timeless(workspace, trial) == timeless(expected, trial)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("where", "number", "times", "retries"),
    [
        ("ray_tune", signal.SIGKILL, 1, 1),
        ("apart", signal.SIGTERM, 2, 0),
    ],
)
def test_a_worker_killed_mid_trial_is_retried_from_its_checkpoint(
    where: str,
    number: int,
    times: int,
    retries: int,
    lot: Lot,
    expected: Workspace,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Apart, where nothing else has the checkpoint, a worker that is told to end sends it first.

    That may happen to a trial more often than it may fail, as long as it trains meanwhile.
    """
    make: MakeDispatcher = request.getfixturevalue(where)
    workspace = lot.fresh(tmp_path / "workspace")
    trial, killed = lot.trials["slow"][0], []

    def kill(which: Trial, piece: Slice) -> None:
        if which == trial and len(piece.epochs) and len(killed) < times:
            pid = lot.steps("slow")[-1]
            if pid not in killed and piece.state == "training":
                killed.append(pid)
                # In the midst of the next slice.
                threading.Timer(0.2, os.kill, (pid, number)).start()

    lot.pace(0.5)
    told = Told(kill)
    tuned = make(workspace)
    tuned.retries = retries  # type: ignore[attr-defined]
    tuned.run([trial, *lot.trials["good"]], lot.prepared, told)
    assert len(killed) == times
    said = [it.reason for it in told.slices[trial.key] if it.reason]
    assert len(said) == times
    assert all(it.startswith("its process ended: ") for it in said)
    steps = lot.steps("slow")
    # Another process went on: not from the beginning, at most one epoch was lost each time.
    assert steps[-1] not in killed
    assert EPOCHS <= len(steps) <= EPOCHS + times
    assert told.end(trial).state == "finished"
    assert timeless(workspace, trial) == timeless(expected, trial)
    assert workspace.failure(trial.key) is None
    for other in lot.trials["good"]:
        assert told.end(other).state == "finished"
        assert timeless(workspace, other) == timeless(expected, other)


RUN_SLOW = """
import json, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from equigrid.datasets.store import PreparedData
from equigrid.orchestration.in_process import InProcess
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial
prepared = {{key: PreparedData(*hashes) for key, hashes in json.loads({prepared!r}).items()}}
trial = Trial.from_dict(json.loads({trial!r}))
InProcess(Workspace(Path({root!r})), 0).run([trial], prepared, lambda trial, piece: None)
"""


def test_a_process_killed_mid_trial_goes_on_from_its_checkpoint(
    lot: Lot, expected: Workspace, tmp_path: Path
) -> None:
    workspace, trial = lot.fresh(tmp_path / "workspace"), lot.trials["slow"][0]
    lot.pace(0.2)
    hashes = {key: (it.base_sha256, it.cache_sha256) for key, it in lot.prepared.items()}
    code = RUN_SLOW.format(
        folder=str(lot.folder), root=str(workspace.root),
        prepared=json.dumps(hashes), trial=json.dumps(trial.to_dict()),
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        while len(lot.steps("slow")) < 4:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert workspace.record(trial.key) is None
    lot.pace(0)
    InProcess(workspace, RETRIES).run([trial], lot.prepared, told := Told())
    assert told.end(trial).state == "finished"
    assert EPOCHS <= len(lot.steps("slow")) <= EPOCHS + 1
    assert timeless(workspace, trial) == timeless(expected, trial)


@pytest.mark.parametrize(
    "dispatcher", ["in process", pytest.param("ray_tune", marks=pytest.mark.cluster)], indirect=True
)  # a worker apart has a folder of its own, which nobody else holds
def test_a_trial_that_another_process_holds_is_waited_for(
    dispatcher: MakeDispatcher, lot: Lot, expected: Workspace, tmp_path: Path
) -> None:
    workspace, trial = lot.fresh(tmp_path / "workspace"), lot.trials["good"][0]
    code = (
        "import sys; from pathlib import Path; "
        "from equigrid.planning.workspace import Workspace\n"
        f"with Workspace(Path({str(workspace.root)!r})).claim({trial.key!r}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    def let_go(which: Trial, piece: Slice) -> None:
        if piece.state == "waiting":
            holder.kill()

    told = Told(let_go)
    try:
        dispatcher(workspace).run([trial], lot.prepared, told)
    finally:
        holder.kill()
        holder.communicate()
    assert told.slices[trial.key][0].state == "waiting"
    assert told.end(trial).state == "finished"
    assert timeless(workspace, trial) == timeless(expected, trial)


@pytest.mark.cluster
def test_the_private_names_of_tune_s_that_are_overwritten_are_what_they_were() -> None:
    """Storage keys would be handed on to workers, in a setting that Ray logs word for word.

    And every actor would wait for a process of its own, and the driver for MLflow and torch.
    """
    code = (
        "import inspect\n"
        "from ray.tune.execution import class_cache\n"
        "names = class_cache.ENV_VARS_TO_PROPAGATE\n"
        "assert {'AWS_SECRET_ACCESS_KEY', 'AWS_ACCESS_KEY_ID'} <= set(names)\n"
        "assert 'in ENV_VARS_TO_PROPAGATE' in inspect.getsource(class_cache)\n"
        "assert class_cache.DEFAULT_ENV_VARS == {'PL_DISABLE_FORK': '1'}\n"
        "assert 'DEFAULT_ENV_VARS.copy()' in inspect.getsource(class_cache)\n"
        "from ray.air._internal import usage\n"
        "from ray.tune import tune\n"
        "assert 'air_usage.tag_callbacks(callbacks)' in inspect.getsource(tune.run)\n"
        "import sys\n"
        "import equigrid.orchestration.ray_tune\n"
        "assert not {'torch', 'mlflow'} & set(sys.modules)\n"
        "assert class_cache.DEFAULT_ENV_VARS == {} and not usage.tag_callbacks([object()])\n"
        "assert not [n for n in class_cache.ENV_VARS_TO_PROPAGATE if n.startswith('AWS_')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=spaces.environment())
