"""One trial: its history, early stop and checkpoints, and the record at the end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.errors import TrainingDivergedError
from equigrid.files import sha256, write_atomically
from equigrid.metrics.metric import numbers
from equigrid.own_parts.source_code import sources_of
from equigrid.record import ARTIFACT, Epoch, Record, TrialFiles
from equigrid.training.checkpoint import (
    drop_checkpoints,
    load_checkpoint,
    load_state,
    save_checkpoint,
)
from equigrid.training.early_stopping import best_epoch, is_stale
from equigrid.training.engine import MakeEngine
from equigrid.training.environment import environment
from equigrid.training.model import choose_device
from equigrid.training.streams import seeded
from equigrid.training.torch_loop import TorchLoop
from equigrid.training.weights import load_weights, save_weights
from equigrid.trial import Trial

log = logging.getLogger("equigrid")


class TrialRun:
    """A trial under way: call run_epoch until `done`, then finish.

    Starts from the newest sound checkpoint. A finished training with its weights still there is
    not repeated: `finish` then only evaluates what is asked for. Nor is a trial without training
    settings (a trivial row) trained. What trains and scores it is an engine, made anew for it.
    """

    def __init__(
        self,
        trial: Trial,
        dataset: Dataset,
        data_sha256: str,
        files: TrialFiles,
        device: str | None = None,
        make_engine: MakeEngine = TorchLoop,
    ) -> None:
        self.trial, self.dataset, self.files = trial, dataset, files
        self.data_sha256 = data_sha256
        self.sources = sources_of(trial.all_code)
        self.device = device or choose_device()
        self.engine = make_engine(trial, dataset, self.device)
        self.history: list[Epoch] = []
        self.epoch_seconds: list[float] = []
        self.best_weights: dict[str, Tensor] = {}
        self.reads_epochs = False
        self.started = time.time()
        self.trained: Record | None = None
        if trial.training:
            self.trained = self._finished_record()
            if self.trained is None:
                self._resume()

    def _finished_record(self) -> Record | None:
        """A record of this key whose weights are still here, so that only tests are missing."""
        if not (self.files.record.exists() and self.files.weights.exists()):
            return None
        record = Record.load(self.files.record)
        try:
            weights, digest = load_weights(self.files.weights)
        except ValueError as error:
            log.warning("%s; training again", error)
            return None
        if digest != record.weights_sha256:
            log.warning("%s: not the weights of its record; training again", self.files.weights)
            return None
        self.engine.load_weights(weights)
        return record

    @property
    def done(self) -> bool:
        settings = self.trial.training
        if not settings or self.trained is not None:
            return True
        return len(self.history) >= settings["epochs"] or is_stale(self.history, settings)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the best validation score; 0 where there is none."""
        return best_epoch(self.history, self._select) if self.history else 0

    @property
    def _select(self) -> str:
        return str(self.trial.training["select"])

    def _resume(self) -> None:
        content = load_checkpoint(self.files, self.trial.key) or self._shorter()
        if content is not None:
            self.engine.load_state(content)
            self.best_weights = content["best_weights"]
            self.started = content["started"]
            self.reads_epochs = content.get("reads_epochs", False)
            self.history = json.loads(content["history"])
            self.epoch_seconds = json.loads(content["epoch_seconds"])
        lines = map(self._journal_line, range(1, len(self.history) + 1))
        write_atomically(self.files.journal, "".join(lines), durable=False)

    def _shorter(self) -> dict[str, Any] | None:
        """How one of fewer epochs ended, if going on from there is the same as training through."""
        content = load_state(self.files)
        if content is None or len(json.loads(content["history"])) > self.trial.training["epochs"]:
            return None
        if content.get("reads_epochs") or "schedule" in self.trial.training:
            log.info("%s: what is trained depends on the number of epochs: from the start",
                     self.trial.describe())  # fmt: skip
            return None
        return content

    def _journal_line(self, epoch: int) -> str:
        """What `status` shows of a training under way."""
        seconds = round(self.epoch_seconds[epoch - 1], 3)
        return json.dumps({"epoch": epoch, "seconds": seconds, **self.history[epoch - 1]}) + "\n"

    def run_epoch(self) -> Epoch:
        """Train one epoch and validate; writes the checkpoint and a line of the journal.

        Raises TrainingDivergedError where a loss, or the score that selects, is not finite. Another
        score that is undefined is none of this epoch.
        """
        begun = time.perf_counter()
        number = len(self.history) + 1
        # What a model draws itself (dropout) comes from a stream a name and epoch, like all else:
        # a resumed trial needs no generator's state.
        with seeded(self.device, self.trial.seed, "training", number):
            scores = self.engine.train_epoch(self.history)
        row = {f"train_{name}": value for name, value in scores.items()}
        with seeded(self.device, self.trial.seed, "validation", number):
            scores = self.engine.validate()
        row |= {f"val_{name}": value for name, value in scores.items()}
        row, undefined = numbers(row)
        for name, value in undefined.items():
            if name.endswith("loss") or name == self._select:
                raise TrainingDivergedError(f"{name} is {value} in epoch {number}")
        self.reads_epochs |= self.engine.reads_epochs
        self.history.append(row)
        if self.best_epoch == number:
            self.best_weights = self.engine.weights()
        self.epoch_seconds.append(time.perf_counter() - begun)
        self._save()
        return row

    def _save(self) -> None:
        save_checkpoint(
            self.files,
            {
                **self.engine.state(),
                "key": self.trial.key,
                "best_weights": self.best_weights,
                "best_epoch": self.best_epoch,
                "started": self.started,
                "reads_epochs": self.reads_epochs,
                "history": json.dumps(self.history),
                "epoch_seconds": json.dumps(self.epoch_seconds),
            },
        )
        with self.files.journal.open("a") as journal:
            journal.write(self._journal_line(len(self.history)))

    def finish(self) -> Record:
        """Write the best weights and the record; a final is tested first, on its best weights."""
        record = self.trained or self._new_record()
        untested = record.test is None or (
            not self.trial.metrics.items() <= record.trial.metrics.items()
        )
        if self.trial.role == "final" and untested:
            test, undefined = self._test()
            record = replace(
                record, trial=self.trial, test=test, sources=self.sources, undefined=undefined
            )
        record.save(self.files.record)
        drop_checkpoints(self.files)
        return record

    def _new_record(self) -> Record:
        digest = None
        if self.trial.training:
            if self.trial.training.get("tested") == "last":
                self.best_weights = self.engine.weights()
            self.engine.load_weights(self.best_weights)
            digest = save_weights(self.files.weights, self.best_weights)
        return Record(
            trial=self.trial,
            key=self.trial.key,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            validation=self.history[self.best_epoch - 1] if self.history else {},
            test=None,
            parameters=self.engine.parameters,
            objective_parameters=self.engine.objective_parameters,
            artifacts=self._write_artifacts(self.engine.artifacts()),
            data_sha256=self.data_sha256,
            weights_sha256=digest,
            environment=self._environment(),
            started=self.started,
            epoch_seconds=tuple(self.epoch_seconds),
            sources=self.sources,
        )

    def _write_artifacts(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Write further files of the run; returns their hashes by name."""
        for name, data in contents.items():
            if not ARTIFACT.fullmatch(name):
                raise ValueError(f"artifact {name!r} is no file's name")
            write_atomically(self.files.artifacts / name, data)
        return {name: sha256(data) for name, data in contents.items()}

    def _environment(self) -> dict[str, str]:
        commit = self.trial.search_space_commit
        return environment(self.device) | ({"search_space_commit": commit} if commit else {})

    def _test(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
        """The scores by split, and those that are no numbers: they leave a gap, and are named.

        Raises TrainingDivergedError where there is no number at all.
        """
        scores, undefined = dict[str, dict[str, float]](), dict[str, dict[str, str]]()
        for split in self.dataset.sources:
            if split != "val":
                with seeded(self.device, self.trial.seed, "test", split):
                    found = self.engine.test(split)
                scores[split], undefined[split] = numbers(found)
        if undefined and not any(scores.values()):
            raise TrainingDivergedError(f"no test gives a number: {undefined}")
        return {n: it for n, it in scores.items() if it}, {n: i for n, i in undefined.items() if i}
