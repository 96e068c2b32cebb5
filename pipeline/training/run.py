"""One trial: epochs, early stop, checkpoints, and the record at the end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from equigrid.datasets.resident import Dataset
from equigrid.errors import TrainingDivergedError
from equigrid.files import sha256, write_atomically
from equigrid.lookup import load, model_entry, objective_entry
from equigrid.metrics.direction import higher_is_better, is_better
from equigrid.metrics.metric import Scores, numbers
from equigrid.objectives.batch import Batch, Step
from equigrid.objectives.latents import latent_shape
from equigrid.objectives.regular import LatentAction
from equigrid.objectives.task import task_named, with_penalties
from equigrid.own_parts.source_code import sources_of
from equigrid.record import ARTIFACT, Epoch, Record, TrialFiles
from equigrid.training.checkpoint import (
    drop_checkpoints,
    load_checkpoint,
    load_state,
    save_checkpoint,
)
from equigrid.training.environment import environment
from equigrid.training.evaluation import evaluate, metrics_of, probe, validate
from equigrid.training.model import (
    OBJECTIVE,
    build_model,
    choose_device,
    of_model,
    of_objective,
    settings,
)
from equigrid.training.optimisation import learning_rate, make_optimiser
from equigrid.training.precision import autocast, in_full
from equigrid.training.streams import seeded, stream
from equigrid.training.weights import load_weights, save_weights
from equigrid.trial import Trial

log = logging.getLogger("equigrid")


def _draws(dataset: Dataset, seed: int, epoch: int) -> dict[str, torch.Tensor]:
    """What an epoch draws for every sample: elements a and g, and draws of artefacts."""
    size, order, pairs = dataset.size("train"), dataset.group.order, dataset.pairs
    bounds = {
        "augmentation": order, "pair": order,
        "first draw": dataset.draws, "second draw": dataset.draws,
    }  # fmt: skip
    found = {
        name: torch.randint(bound, (size,), generator=stream(seed, name, epoch))
        for name, bound in bounds.items()
    }
    if pairs.weights is not None:
        weights = torch.tensor(pairs.weights, dtype=torch.float64)
        source = stream(seed, "pair", epoch)
        found["pair"] = torch.multinomial(weights, size, replacement=True, generator=source)
    if not pairs.moves_first:
        found["augmentation"] = torch.zeros_like(found["augmentation"])
    if pairs.shares_draws:
        found["second draw"] = found["first draw"]
    return found


class TrialRun:
    """A trial under way: call run_epoch until `done`, then finish.

    Starts from the newest sound checkpoint. A finished training with its weights still there is
    not repeated: `finish` then only evaluates what is asked for.
    """

    def __init__(
        self,
        trial: Trial,
        dataset: Dataset,
        data_sha256: str,
        files: TrialFiles,
        device: str | None = None,
    ) -> None:
        self.trial, self.dataset, self.files = trial, dataset, files
        self.data_sha256 = data_sha256
        self.sources = sources_of(trial.all_code)
        self.device = device or choose_device()
        self.trivial = model_entry(trial.model["name"]).trivial
        self.model = build_model(trial, dataset, self.device)
        self.history: list[Epoch] = []
        self.epoch_seconds: list[float] = []
        self.best_epoch = 0
        self.best_weights: dict[str, torch.Tensor] = {}
        self.learned: torch.nn.Module | None = None
        self.reads_epochs = False
        self.started = time.time()
        self.trained: Record | None = None
        if not self.trivial:
            with seeded(self.device, trial.seed, "preparation"):
                self._prepare()
            self.trained = self._finished_record()
            if self.trained is None:
                self._resume()

    def _prepare(self) -> None:
        entry = objective_entry(self.trial.objective["name"])
        self.objective = load(entry.target)(
            self.trial.hyperparameters, **settings(self.trial.objective)
        )
        prepare = getattr(self.objective, "prepare", None)
        self.learned = prepare(self.model, self.dataset) if prepare else None
        parameters = list(self.model.parameters())
        if self.learned is not None:
            self.learned.to(self.device)
            parameters += self.learned.parameters()
        self.optimiser = make_optimiser(self.trial, parameters)
        self.composition = torch.from_numpy(self.dataset.composition.copy()).to(self.device)
        self.action = self._measured_action() if "val" in self.dataset.views else None

    def _measured_action(self) -> Any:
        """The objective's or model's own, else the regular one where the latent allows it."""
        for part in (self.objective, self.model):
            if hasattr(part, "latent_action"):
                return part.latent_action
        shape = latent_shape(self.model, self.dataset)  # what encode raises is the trial's failure
        try:
            return LatentAction(self.dataset.group, shape, torch.device(self.device))
        except ValueError:  # the group has no regular representation on such a latent
            return None

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
        self._load(weights)
        return record

    @property
    def done(self) -> bool:
        if self.trivial or self.trained is not None:
            return True
        settings = self.trial.training
        return bool(len(self.history) >= settings["epochs"] or self._is_stale())

    def _is_stale(self) -> bool:
        """By patience: no better epoch for so long. By trend: a window no better than the last."""
        settings, epoch = self.trial.training, len(self.history)
        if "trend" not in settings:
            return bool(epoch - self._last_progress() >= settings["patience"])
        after, window = settings["trend"]["after"], settings["trend"]["window"]
        if epoch <= after or epoch < 2 * window:
            return False
        scores = [row[self._select] for row in self.history]
        return not is_better(
            self._select, fmean(scores[-window:]), fmean(scores[-2 * window : -window])
        )

    def _last_progress(self) -> int:
        """The last epoch that was better than the one of this kind before, by over min_delta."""
        delta = float(self.trial.training.get("min_delta", 0.0))
        if not delta:
            return self.best_epoch
        at, reference, sign = 0, None, -1 if higher_is_better(self._select) else 1
        for epoch, row in enumerate(self.history, 1):
            if reference is None or sign * row[self._select] < sign * reference - delta:
                at, reference = epoch, row[self._select]
        return at

    @property
    def _select(self) -> str:
        return str(self.trial.training["select"])

    def _resume(self) -> None:
        content = load_checkpoint(self.files, self.trial.key) or self._shorter()
        if content is not None:
            self._load(content["model"])
            self.optimiser.load_state_dict(content["optimizer"])
            self.best_weights = content["best_weights"]
            self.best_epoch = content["best_epoch"]
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
            row = {f"train_{name}": value for name, value in self._train(number).items()}
        if hasattr(self.model, "watch"):
            self.model.watch(number)
        self.model.eval()
        with seeded(self.device, self.trial.seed, "validation", number):
            scores = self._validate()
        row |= {f"val_{name}": value for name, value in scores.items()}
        row, undefined = numbers(row)
        for name, value in undefined.items():
            if name.endswith("loss") or name == self._select:
                raise TrainingDivergedError(f"{name} is {value} in epoch {number}")
        best = self.history[self.best_epoch - 1][self._select] if self.best_epoch else None
        self.history.append(row)
        if is_better(self._select, row[self._select], best):
            self.best_epoch = number
            self.best_weights = self._weights()
        self.epoch_seconds.append(time.perf_counter() - begun)
        self._save()
        return row

    def _validate(self) -> dict[str, float]:
        if hasattr(self.objective, "score"):
            with torch.inference_mode():
                found: dict[str, float] = self.objective.score(self.model, self.dataset, "val")
            return found
        plain = getattr(self.objective, "validates_plain", False)
        place = self.model, self.dataset, self.action, self.composition, self.device
        return validate(*place, plain=plain)

    def _state(self) -> dict[str, torch.Tensor]:
        """The model's tensors, and what the objective has learned, as `objective/…`."""
        learned = {} if self.learned is None else self.learned.state_dict()
        return {
            **self.model.state_dict(),
            **{f"{OBJECTIVE}{name}": value for name, value in learned.items()},
        }

    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        self.model.load_state_dict(of_model(state))
        if self.learned is not None:
            self.learned.load_state_dict(of_objective(state))

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self._state().items()}

    def _train(self, number: int) -> dict[str, float]:
        task, dataset, seed = task_named(self.dataset.task), self.dataset, self.trial.seed
        size = dataset.size("train")
        shuffled = torch.randperm(size, generator=stream(seed, "order", number)).to(self.device)
        draws = _draws(dataset, seed, number)
        draws = {name: found.to(self.device) for name, found in draws.items()}
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = learning_rate(self.trial, self.history)
        self.model.train()
        sums: dict[str, torch.Tensor] = {}
        measured, count = Scores(metrics_of(dataset)), 0
        length, epochs = int(self.trial.training["batch_size"]), int(self.trial.training["epochs"])
        parts = torch.split(torch.arange(size, device=self.device), length)
        for step, places in enumerate(parts, 1):
            if len(places) == 1 and size > 1:
                continue  # batch normalisation has no variance of a single sample
            batch = Batch(
                dataset,
                shuffled[places],
                draws["augmentation"][places],
                draws["pair"][places],
                draws["first draw"][places],
                draws["second draw"][places],
                self.composition,
                step=Step(number, epochs, step, len(parts)),
            )
            self.optimiser.zero_grad(set_to_none=True)
            with autocast(self.trial, self.device):
                loss = self.objective(self.model, batch, task)
            loss = with_penalties(loss, self.model)
            self.reads_epochs |= batch.step.reads_epochs
            loss.total.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            for name, value in (("loss", loss.total.detach()), *loss.terms.items()):
                sums[name] = sums.get(name, 0.0) + value.double() * len(places)
            if loss.outputs is not None:
                measured.update(in_full(loss.outputs.detach()), batch.y)
            count += len(places)
        scores = {name: float(value) / count for name, value in sums.items()}
        return scores | (measured.compute() if loss.outputs is not None else {})

    def _save(self) -> None:
        save_checkpoint(
            self.files,
            {
                "key": self.trial.key,
                "model": self._state(),
                "optimizer": self.optimiser.state_dict(),
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
        if self.trial.training.get("tested") == "last":
            self.best_weights = self._weights()
        if not self.trivial:
            self._load(self.best_weights)
            digest = save_weights(self.files.weights, self.best_weights)
        return Record(
            trial=self.trial,
            key=self.trial.key,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            validation=self.history[self.best_epoch - 1] if self.history else {},
            test=None,
            parameters=sum(value.numel() for value in self.model.parameters()),
            objective_parameters=self._learned_parameters(),
            artifacts=self._artifacts(),
            data_sha256=self.data_sha256,
            weights_sha256=digest,
            environment=self._environment(),
            started=self.started,
            epoch_seconds=tuple(self.epoch_seconds),
            sources=self.sources,
        )

    def _artifacts(self) -> dict[str, str]:
        """Write the files that the objective and the model leave; their hashes by name."""
        digests = {}
        for part in () if self.trivial else (self.objective, self.model):
            for name, data in (part.artifacts() if hasattr(part, "artifacts") else {}).items():
                if not ARTIFACT.fullmatch(name):
                    raise ValueError(f"artifact {name!r} is no file's name")
                write_atomically(self.files.artifacts / name, data)
                digests[name] = sha256(data)
        return digests

    def _learned_parameters(self) -> int:
        learned = [] if self.learned is None else self.learned.parameters()
        return sum(value.numel() for value in learned)

    def _environment(self) -> dict[str, str]:
        commit = self.trial.search_space_commit
        return environment(self.device) | ({"search_space_commit": commit} if commit else {})

    def _test(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
        """The scores by split, and those that are no numbers: they leave a gap, and are named.

        Raises TrainingDivergedError where there is no number at all.
        """
        self.model.eval()
        further, scores = self.trial.metrics, dict[str, dict[str, float]]()
        undefined = dict[str, dict[str, str]]()
        for split in self.dataset.sources:
            if split != "val":
                place = self.model, self.dataset, split, self.device
                with seeded(self.device, self.trial.seed, "test", split), torch.inference_mode():
                    if not self.trivial and hasattr(self.objective, "score"):
                        scores[split] = self.objective.score(*place[:3])
                    else:
                        scores[split] = evaluate(*place, further)
                    scores[split] |= probe(*place, (*self.dataset.metrics, *further))
                scores[split], undefined[split] = numbers(scores[split])
        if undefined and not any(scores.values()):
            raise TrainingDivergedError(f"no test gives a number: {undefined}")
        return {n: it for n, it in scores.items() if it}, {n: i for n, i in undefined.items() if i}
