"""Runs of MLflow experiments, read and never written; a cache in the workspace.

A curve costs a request, and a SQLite file or a server answers some hundred a second: what was read
stays, and is asked for again where its run has changed. A SQLite file that has not changed at all
since is not opened, and MLflow not imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from equigrid.errors import InputError, masked
from equigrid.external_runs.source import Curves, ExternalRun, Point, Wanted
from equigrid.files import canonical_json, sha256, write_derived
from equigrid.own_parts.user_errors import in_one_line
from equigrid.tracking.cache import stamp_of_file
from equigrid.tracking.store import sqlite_file

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

#: Of the caches' content.
SCHEMA = 1
#: Curves asked for at once: a server answers 8 times as many as one by one, a file no more.
AT_ONCE = 8
#: Experiments that are listed where one is not found.
LISTED = 20


class MlflowRuns:
    """The active runs of experiments (names or ids) of a tracking store.

    cache: a folder of the workspace; None keeps nothing. fresh: read everything again.
    """

    def __init__(
        self, uri: str, experiments: Sequence[str], filter_string: str | None = None,
        cache: Path | None = None, *, fresh: bool = False,
    ) -> None:  # fmt: skip
        self.uri, self.experiments, self.filter = uri, list(experiments), filter_string
        self._file = sqlite_file(uri)
        if self._file is not None and not self._file.is_file():
            raise InputError(f"{masked(uri)}: no such file")
        identity = canonical_json([uri, self.experiments, filter_string])
        name = sha256(identity.encode())[:16]
        self._runs_cache = cache / f"{name}.runs.json" if cache else None
        self._curves_cache = cache / f"{name}.curves.json" if cache else None
        self._fresh = fresh
        self._matching: list[str] | None = None
        self._client: MlflowClient | None = None

    def described(self) -> str:
        several = "s" if len(self.experiments) > 1 else ""
        place = self._file.name if self._file is not None else masked(self.uri)
        return f"MLflow experiment{several} {', '.join(self.experiments)} of {place}"

    def runs(self) -> Sequence[ExternalRun]:
        stamp = self._stamp()
        kept = self._kept(self._runs_cache)
        if stamp is not None and kept.get("stamp") == stamp:
            self._matching = kept["matching"]
            return [ExternalRun(**run) for run in kept["runs"]]
        with self._asking():
            ids = self._experiment_ids()
            found = [_external(run, ids, self._pages()) for run in self._search(list(ids))]
            self._matching = None
            if self.filter is not None:
                self._matching = [run.info.run_id for run in self._search(list(ids), self.filter)]
        found.sort(key=lambda run: (run.started, run.id))
        if stamp is not None and stamp == self._stamp():
            content = {"stamp": stamp, "matching": self._matching, "runs": list(map(asdict, found))}
            self._keep(self._runs_cache, content)
        return found

    def _stamp(self) -> list[Any] | None:
        return None if self._file is None else stamp_of_file(self._file)

    def matching(self) -> frozenset[str] | None:
        return None if self._matching is None else frozenset(self._matching)

    def curves(self, wanted: Wanted) -> Curves:
        kept = self._kept(self._curves_cache)
        found: dict[tuple[str, str], list[Point]] = {}
        missing = []
        for run, metric in wanted:
            entry = kept.get(f"{run.id} {metric}")
            if metric not in run.metrics:
                continue  # it was never logged
            if entry is not None and entry[0] == _mark(run, metric):
                found[run.id, metric] = [Point(*point) for point in entry[1]]
            else:
                missing.append((run, metric))
        if not missing:
            return found
        with self._asking(), ThreadPoolExecutor(1 if self._file else AT_ONCE) as threads:
            answers = threads.map(lambda it: self._history(it[0].id, it[1]), missing)
            for (run, metric), points in zip(missing, answers, strict=True):
                found[run.id, metric] = points
                mark = _mark(run, metric)
                kept[f"{run.id} {metric}"] = [mark, [[it.step, it.value, it.time] for it in points]]
        self._keep(self._curves_cache, kept)
        return found

    # MLflow

    def _connected(self) -> MlflowClient:
        if self._client is None:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=_read_only(self.uri, self._file))
        return self._client

    def _pages(self) -> str:
        """What the addresses of a server's pages begin with; empty of a file."""
        is_server = self.uri.startswith(("http://", "https://"))
        return f"{masked(self.uri).rstrip('/')}/#/experiments/" if is_server else ""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """InputError where the store cannot be read: nothing here can be made without it."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{masked(self.uri)}: cannot be read: {in_one_line(error)[:500]}"
            ) from error

    def _experiment_ids(self) -> dict[str, str]:
        """Names by id, in the order of the file."""
        from mlflow.entities import ViewType

        client = self._connected()
        there = {it.name: it for it in client.search_experiments(view_type=ViewType.ALL)}
        by_id = {it.experiment_id: it for it in there.values()}
        found = {}
        for name in self.experiments:
            experiment = there.get(name) or by_id.get(name)
            if experiment is None or experiment.lifecycle_stage != "active":
                active = sorted(n for n, it in there.items() if it.lifecycle_stage == "active")
                more = f" and {len(active) - LISTED} more" if len(active) > LISTED else ""
                deleted = "" if experiment is None else " (it is deleted)"
                raise InputError(
                    f"{masked(self.uri)}: no experiment {name!r}{deleted}; there are: "
                    f"{', '.join(active[:LISTED]) or 'none'}{more}"
                )
            found[experiment.experiment_id] = experiment.name
        return found

    def _search(self, ids: list[str], filter_string: str = "") -> Iterator[Run]:
        from mlflow.entities import ViewType

        token = None
        while True:
            page = self._connected().search_runs(
                ids, filter_string, ViewType.ACTIVE_ONLY, max_results=5000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _history(self, run: str, metric: str) -> list[Point]:
        history = self._connected().get_metric_history(run, metric)
        return [Point(it.step, it.value, it.timestamp) for it in history]

    # The caches are derived: what is damaged is read again.

    def _kept(self, path: Path | None) -> dict[str, Any]:
        if path is None or self._fresh:
            return {}
        try:
            content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if content.pop("schema", None) == SCHEMA else {}

    def _keep(self, path: Path | None, content: Mapping[str, Any]) -> None:
        if path is not None:
            write_derived(path, json.dumps({"schema": SCHEMA, **content}))


def _read_only(uri: str, file: Path | None) -> str:
    """A SQLite file so that SQLite itself refuses to write."""
    if file is None:
        return uri
    # As `sqlite+pysqlite`: of a plain `sqlite` MLflow makes the folders that its path names.
    return f"sqlite+pysqlite:///file:{quote(quote(str(file.absolute())))}?mode=ro&uri=true"


def _external(run: Run, experiments: Mapping[str, str], pages: str) -> ExternalRun:
    info, data = run.info, run.data
    tags = {f"tags.{name}": text for name, text in data.tags.items()}
    experiment = experiments[info.experiment_id]
    attributes = {
        "run_name": info.run_name or "", "run_id": info.run_id, "experiment": experiment,
        "status": info.status, "user_id": info.user_id or "",
    }  # fmt: skip
    return ExternalRun(
        id=info.run_id,
        experiment=experiment,
        status=info.status,
        started=info.start_time or 0,
        ended=info.end_time,
        values={
            **{f"params.{name}": text for name, text in data.params.items()},
            **tags,
            **{f"attributes.{name}": text for name, text in attributes.items()},
        },
        metrics=dict(data.metrics),
        parent=data.tags.get("mlflow.parentRunId", ""),
        url=f"{pages}{info.experiment_id}/runs/{info.run_id}" if pages else "",
    )


def _mark(run: ExternalRun, metric: str) -> list[Any]:
    """What changes when a curve does: its run goes on, ends, or logs another last value."""
    return [run.status, run.ended, repr(run.metrics.get(metric))]


def store_of(given: str | None, folder: Path, workspace_store: str) -> str:
    """A file's `store`, a SQLite path in it from the file's folder; else where runs are tracked."""
    if given is None:
        return os.environ.get("MLFLOW_TRACKING_URI", "").strip() or workspace_store
    path = sqlite_file(given)
    if path is not None and not path.is_absolute():
        return given.replace(str(path), str((folder / path).absolute()), 1)
    return given
