"""The calls that write an experiment to MLflow.

Every step may be repeated: an existing run is found by its tags and used again, parameters and
metrics carry the record's own values and timestamps, so that nothing is stored twice.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from equigrid.record import Record
from equigrid.tracking.database import follow_move
from equigrid.tracking.runs import (
    LONGEST_EXPERIMENT_NOTE,
    LONGEST_NOTE,
    NOTE,
    PARENT,
    SHARED_VIEW,
    VIEW,
    connect,
    is_refusal,
    metrics,
    noted,
    own_metrics,
    parameters,
    record_tags,
    run_name,
    search,
    view_of,
)
from equigrid.tracking.store import CHANGED, Identity, Store, identity_of
from equigrid.trial import Trial, data_key


class Session:
    """A connection to an experiment's store, and what is in it already.

    Methods that log a trial say whether its run changed.
    """

    def __init__(self, store: Store) -> None:
        """Connects; makes the experiment where there is none. A server places artifacts itself."""
        self.store = store
        self.client: MlflowClient = connect(store.uri)
        self._places: dict[str, str] = {}
        # What several records share is made by the first of them, while the others wait.
        self._shared = Lock()
        self._datasets: set[str] = set()
        follow_move(store)
        self.experiment = self._experiment()
        self._known = self._known_runs()

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.store.experiment)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        place = self.store.artifact_folder / self.store.experiment
        # Without its kind the UI shows the pages for language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(
            self.client.create_experiment(
                self.store.experiment,
                artifact_location=None if self.store.is_server else place.as_uri(),
                tags=tags,
            )
        )

    def _known_runs(self) -> dict[Identity, tuple[str, str]]:
        """Id and status by identity; of two the finished one counts, an unfinished twin is deleted.

        A killed writer's last request may be worked on after the next writer has asked what there
        is, which then makes the run again. If somebody writes the twin even now, the server
        refuses, and the writer finds the other run.
        """
        runs: dict[Identity, tuple[str, str]] = {}
        self._measured: dict[Identity, Mapping[str, str]] = {}
        found = [run for run in search(self.client, self.experiment) if "role" in run.data.tags]
        for run in sorted(found, key=lambda run: run.info.status != "FINISHED"):
            tags = run.data.tags
            identity = (tags["row"], tags["dataset"], tags["role"], tags.get("run_key", ""))
            if identity not in runs:
                runs[identity] = (run.info.run_id, run.info.status)
                self._measured[identity] = own_metrics(tags)
            elif run.info.status == "RUNNING":
                self.client.delete_run(run.info.run_id)
        return runs

    def _status(self, identity: Identity) -> str:
        return self._known.get(identity, ("", ""))[1]

    def _create(
        self, identity: Identity, name: str, started: float, tags: Mapping[str, str]
    ) -> str:
        """The run of an identity: the one a killed writer left, or a new one."""
        if identity in self._known:
            return self._known[identity][0]
        row, dataset, role, key = identity
        everything = {"row": row, "dataset": dataset, "role": role, **tags}
        if key:
            everything["run_key"] = key
        run = self.client.create_run(
            self.experiment, start_time=int(started * 1000), tags=everything, run_name=name
        )
        self._known[identity] = (run.info.run_id, "RUNNING")
        self._places[run.info.run_id] = run.info.artifact_uri
        return str(run.info.run_id)

    def _create_for(self, trial: Trial, started: float, tags: Mapping[str, str]) -> str:
        """A trial's run, nested under the run of its row and dataset; a new one has the tags."""
        above = (trial.row, trial.dataset, PARENT, "")
        with self._shared:
            is_new = above not in self._known
            parent = self._create(above, f"{trial.row} / {trial.dataset}", started, {})
            if is_new:
                self.client.set_terminated(parent, "FINISHED", end_time=int(started * 1000))
        tags = {"mlflow.parentRunId": parent, **tags}
        return self._create(identity_of(trial), run_name(trial), started, tags)

    def record(self, trial: Trial, source: Record | Path) -> bool:
        """Log a record as the run of the trial (its role decides about test metrics)."""
        identity = identity_of(trial)
        measured = self._measured.get(identity, {})
        if self._status(identity) == "FINISHED" and trial.metrics.items() <= measured.items():
            return False
        record = Record.load(source) if isinstance(source, Path) else source
        before = self._status(identity)
        run = self._create_for(trial, record.started, record_tags(trial, record))
        try:
            again = int(time.time() * 1000) if before == "FINISHED" else None
            self._send(run, trial, record, again)
        except Exception as error:
            if is_refusal(error):  # else it would count as running for ever
                self.client.set_tag(run, "failure", f"its record is refused: {error}"[:5000])
                self.client.set_terminated(run, "FAILED")
            raise
        if before == "FAILED":
            try:
                self.client.delete_tag(run, "failure")
            except MlflowException as error:
                # A request is repeated whose answer was lost: the first one took it away.
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        end = int((record.started + sum(record.epoch_seconds)) * 1000)
        self.client.set_terminated(run, "FINISHED", end_time=end)
        self._known[identity] = (run, "FINISHED")
        self._places.pop(run, None)
        self._measured[identity] = trial.metrics
        return True

    def _send(self, run: str, trial: Trial, record: Record, again: int | None) -> None:
        """What is largest last: a server reads all of a run before each request that writes it.

        again: when, of a run that has had other scores.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "record.json"
            path.write_text(record.to_json(), "utf-8")
            self._keep(run, path)
        for name in record.artifacts:
            # Like weights they lie where they were trained: of what was imported there are none.
            path = (self.store.run_files or Path()) / record.key / name
            if self.store.run_files is not None and path.exists():
                self._keep(run, path)
        recipe = trial.data
        dataset = Dataset(
            name=f"{recipe['builder']} {recipe['group']}",
            digest=record.data_sha256[:36],
            source_type="code",
            source=data_key(recipe),
        )
        context = [InputTag("mlflow.data.context", "training")]
        is_new = record.data_sha256 not in self._datasets
        with self._shared if is_new else nullcontext():
            self.client.log_inputs(run, datasets=[DatasetInput(dataset=dataset, tags=context)])
        self._datasets.add(record.data_sha256)
        self.client.log_batch(
            run,
            metrics=metrics(record, trial.role, again),
            params=[Param(name, value) for name, value in parameters(trial).items()],
            # A new run was made with them; of one that was there they may be another record's.
            tags=[] if run in self._places else _as_tags(record_tags(trial, record)),
        )

    def _keep(self, run: str, path: Path) -> None:
        """A file among a run's artifacts; of a run just made, without asking where they lie."""
        if run in self._places:
            place = get_artifact_repository(self._places[run], tracking_uri=self.store.uri)
            place.log_artifact(str(path))
        else:
            self.client.log_artifact(run, str(path))

    def file(self, trial: Trial, path: Path) -> bool:
        """Keep a file with a trial's run, over an earlier one of its name; none where no run is."""
        run, _ = self._known.get(identity_of(trial), ("", ""))
        if run:
            self.client.log_artifact(run, str(path))
        return bool(run)

    def failure(self, trial: Trial, reason: str, started: float) -> bool:
        """Log a trial that was given up as a failed run with its reason."""
        identity = identity_of(trial)
        if self._status(identity) in ("FINISHED", "FAILED"):
            return False
        run = self._create_for(trial, started, {})
        self.client.log_batch(
            run,
            params=[Param(name, value) for name, value in parameters(trial).items()],
            tags=[RunTag("failure", reason[:5000])],
        )
        self.client.set_terminated(run, "FAILED")
        self._known[identity] = (run, "FAILED")
        self._places.pop(run, None)  # a record that comes after all brings its own tags
        return True

    def summary(
        self,
        arm: tuple[str, str],
        tags: Mapping[str, str],
        means: Mapping[str, float],
        seeds: int,
        stamp: float,
        note: str,
    ) -> bool:
        """On the parent of a row and dataset: what was selected, and the mean test scores.

        note: the same in words, its description.
        stamp: when the last of the averaged trainings ended; repeating the call stores nothing new.
        """
        row, dataset = arm
        parent = self._known.get((row, dataset, PARENT, ""))
        if parent is not None:
            self.client.log_batch(
                parent[0],
                metrics=[Metric(name, it, int(stamp * 1000), seeds) for name, it in means.items()],
                tags=_as_tags({**tags, NOTE: noted(note, LONGEST_NOTE)}),
            )
        return False

    def table(
        self,
        tags: Mapping[str, str],
        files: Mapping[str, Path],
        digest: str,
        note: str,
        columns: Sequence[str],
    ) -> bool:
        """Keep the newest table and its report as artifacts of one run named `table`.

        note: the table as Markdown, the description of that run and of the experiment.
        columns: what the list of runs shows in the view that `equigrid ui` opens.
        """
        run = self._create(("", "", "table", ""), "table", time.time(), {})
        if self.client.get_run(run).data.tags.get("table_sha256") == digest:
            return False
        for place, file in files.items():
            self.client.log_artifact(run, str(file), place.rpartition("/")[0] or None)
        of_experiment = {
            NOTE: noted(note, LONGEST_EXPERIMENT_NOTE), SHARED_VIEW + VIEW: view_of(columns)
        }  # fmt: skip
        for name, value in of_experiment.items():
            self.client.set_experiment_tag(self.experiment, name, value)
        everything = {**tags, NOTE: noted(note, LONGEST_NOTE), "table_sha256": digest}
        for name, value in everything.items():
            self.client.set_tag(run, name, value)
        self.client.set_terminated(run, "FINISHED")
        return False

    def mark_change(self) -> None:
        """Readers of a store that is no file keep what they read until this tag moves on."""
        if self.store.is_server:
            # A killed writer's last request may have been worked on since this one looked: the
            # twin that it made goes now, not when the next command writes.
            self._known = self._known_runs()
        if self.store.database is None:
            self.client.set_experiment_tag(self.experiment, CHANGED, str(time.time_ns()))


def _as_tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value) for name, value in tags.items()]
