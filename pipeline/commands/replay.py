"""Train a tracked run again from its record alone, and compare every number.

Example: equigrid replay 3f2a9c41
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import ERROR, WORKSPACE, Root, warn
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError
from equigrid.own_parts.imports import is_external
from equigrid.own_parts.source_code import check_fingerprints, code_of, differing_paths
from equigrid.planning.find_run import find_record
from equigrid.planning.open_run import open_dataset
from equigrid.planning.workspace import Workspace
from equigrid.record import Epoch, Record, TrialFiles
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.trial import TRAINING_VERSION

#: How far a score may move on another stack (torch, processor, device) and count as the same.
TOLERANCE = 0.01
#: What records tell since: of an older one it cannot be known whether a sum is calculated alike.
SINCE = ("cpu_capability", "instruction_sets")
#: Of an environment: nothing that a sum of floats depends on.
HARMLESS = (
    "host", "cores", "git_commit", "ray", "mlflow", "h5py", "scikit-learn", "phiflow", "e3nn",
    "equigrid",
)  # fmt: skip


def replay(
    run: Annotated[str, typer.Argument(help="An MLflow run id, or a run key (its beginning).")],
    workspace: Root = WORKSPACE,
    from_record: Annotated[
        bool,
        typer.Option("--recorded-code", help="Run its own parts from the sources in its record."),
    ] = False,
) -> None:
    place = Workspace(workspace)
    record = find_record(place, run)
    console.print(f"{record.trial.role}  {record.trial.describe()}", highlight=False, markup=False)
    for step in steps_of(record, place, from_record=from_record):
        if not isinstance(step, Replay):
            console.print(step, highlight=False, markup=False, soft_wrap=True)
            continue
        for text in step.differences:
            warn(text)
        if step.bitwise:
            console.print("bitwise equal")
            continue
        stack = "on the same stack" if step.same_stack else "on another stack"
        if step.untold:
            stack = f"and the record does not tell whether on the same stack ({step.untold[0]})"
        console.print(
            f"not bitwise equal, {stack}; scores of the best epoch differ by at most "
            f"{step.largest:.4g} (allowed on another stack: {TOLERANCE:g})",
            highlight=False,
        )
        if not step.agrees:
            raise typer.Exit(ERROR)


@dataclass(frozen=True)
class Replay:
    """differences: of the numbers, one text each. bitwise: there are none, weights included.

    largest: the largest absolute difference of a validation or test score of the best epoch.
    same_stack: nothing that could move a number differs between the environments.
    untold: what could move one, and the record does not tell: it may be another stack.
    """

    bitwise: bool
    same_stack: bool
    differences: tuple[str, ...]
    largest: float
    untold: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Bitwise on the same stack, within TOLERANCE on another, or one that may be another."""
        return self.bitwise or (not self.same_stack and self.largest <= TOLERANCE)


def environment_changes(record: Record, device: str) -> dict[str, tuple[str, str]]:
    """What differs between then and now: {name: (then, now)}."""
    from equigrid.training.environment import environment

    then, now = record.environment, environment(device)
    then = {name: value for name, value in then.items() if name != "search_space_commit"}
    return {
        name: (then.get(name, ""), now.get(name, ""))
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    }


def own_parts(record: Record) -> list[str]:
    """The names of a record's parts from outside the package."""
    trial = record.trial
    parts = (trial.model["name"], trial.objective["name"], trial.data["builder"],
             trial.data["group"])  # fmt: skip
    return sorted(set(filter(is_external, parts)))


def code_beside(record: Record, workspace: Workspace) -> Iterator[str]:
    """Make the code of a record's own parts importable from where its search space lies.

    Texts say what cannot be known. Raises InputError where the code there is not the recorded one.
    """
    recorded = record.trial.all_code
    if not recorded and not own_parts(record):
        return
    workspace.import_own_parts(record.trial.experiment)
    for name in own_parts(record):
        if name not in recorded:
            yield f"code of {name}: the record does not say which it had"
    differing = []
    for name, digest in recorded.items():
        try:
            check_fingerprints({name: digest})
        except InputError:
            differing.append(_difference(name, digest, record))
    if differing:
        raise InputError(
            f"code differs from the record's: {', '.join(differing)}; --recorded-code trains with "
            "the code in the record, which you then run: look at it first where it is a stranger's"
        )
    if recorded:
        yield "code of its own parts: nothing differs"


def _difference(name: str, digest: str, record: Record) -> str:
    """How the code of a part here differs from the recorded one, by its sources."""
    try:
        found = code_of(name)
    except InputError:
        return f"{name} (here not found, recorded {digest[:12]})"
    paths = ", ".join(differing_paths(found.sources, record.sources[digest]))
    return f"{name} (here {found.fingerprint[:12]}, recorded {digest[:12]}: {paths})"


@contextmanager
def recorded_code(record: Record) -> Iterator[None]:
    """Make the sources in a record importable."""
    with tempfile.TemporaryDirectory() as folder:
        for sources in record.sources.values():
            for path, text in sources.items():
                if not path.endswith(".py"):
                    continue  # a hash or a version stands for it: it has to be here
                file = Path(folder) / path
                if file.exists() and file.read_text("utf-8") != text:
                    raise InputError(f"the record has two different sources of {path}")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)


def steps_of(
    record: Record, workspace: Workspace, *, from_record: bool = False
) -> Iterator[str | Replay]:
    """Train a record's trial again, outside the workspace; texts on the way, then the outcome.

    from_record: its own parts are run from the sources in it, not from beside its search space.
    """
    if not from_record:
        yield from code_beside(record, workspace)
    with recorded_code(record) if from_record else nullcontext():
        yield from _replay(record, workspace)


def _replay(record: Record, workspace: Workspace) -> Iterator[str | Replay]:
    # torch takes a second to import, which `--help` need not.
    import torch

    from equigrid.training.memory import keep_freed
    from equigrid.training.model import choose_device
    from equigrid.training.run import TrialRun

    device, trial = choose_device(), record.trial
    torch.set_num_threads(1)
    keep_freed(device)
    if trial.training_version != TRAINING_VERSION:
        yield f"training: version was {trial.training_version}, is {TRAINING_VERSION}"
    changes = environment_changes(record, device)
    untold = tuple(name for name in SINCE if name in changes and not changes[name][0])
    for name, (then, now) in changes.items():
        if name in untold:
            yield f"environment: the record does not tell {name}, here it is {now}"
        else:
            yield f"environment: {name} was {then or 'not there'}, is {now or 'not there'}"
    if not changes:
        yield "environment: nothing differs"
    raw = RawStore(beside=workspace.search_space_folder(trial.experiment))
    base = data_build(workspace, trial.data, raw, lambda done, total: None)
    prepared = augment_cache(workspace, trial.data, base, lambda done, total: None)
    differences = []
    if prepared.cache_sha256 != record.data_sha256:
        differences.append(
            f"data: SHA-256 was {record.data_sha256[:12]}, is {prepared.cache_sha256[:12]}"
        )
    dataset = open_dataset(workspace, trial.data, device, base, prepared.cache_sha256)
    with tempfile.TemporaryDirectory() as folder:
        run = TrialRun(
            trial, dataset, prepared.cache_sha256, TrialFiles.below(Path(folder)), device
        )
        while not run.done:
            scores = run.run_epoch()
            number = len(run.history)
            known = record.history[number - 1] if number <= len(record.history) else {}
            word = "same" if scores == known else "DIFFERS"
            yield f"epoch {number} of {len(record.history)}: {word}"
        again = run.finish()
    differences += _differences(record, again)
    moved = [name for name in changes if name not in HARMLESS]
    if trial.training_version != TRAINING_VERSION:
        moved.append("training version")
    if set(moved) - set(untold):
        untold = ()  # it is another one in any case
    largest = _largest(record, again)
    yield Replay(not differences, not moved, tuple(differences), largest, untold)


def _scores(record: Record) -> Epoch:
    """The best epoch's validation scores and the test scores, flat."""
    scores = dict(record.validation)
    for split, values in (record.test or {}).items():
        scores |= {f"{split}/{name}": value for name, value in values.items()}
    return scores


def _differences(then: Record, now: Record) -> Iterator[str]:
    for number, (a, b) in enumerate(zip(then.history, now.history, strict=False), 1):
        if a != b:
            name = next(n for n in {**a, **b} if a.get(n) != b.get(n))
            yield f"epoch {number}: {name} was {a.get(name)!r}, is {b.get(name)!r}"
            break
    if len(then.history) != len(now.history):
        yield f"epochs: were {len(then.history)}, are {len(now.history)}"
    before, after = _scores(then), _scores(now)
    for name, value in before.items():
        if after.get(name) != value:
            yield f"{name} was {value!r}, is {after.get(name)!r}"
    if then.weights_sha256 != now.weights_sha256:
        yield "best weights: another hash"


def _largest(then: Record, now: Record) -> float:
    before, after = _scores(then), _scores(now)
    scores = [name for name in before if not name.endswith(("loss", "error"))]
    return max((abs(before[n] - after.get(n, float("inf"))) for n in scores), default=0.0)
