"""Check versions, raw data, disk, MLflow, Ray and GPU; say what to do about each problem.

Example: equigrid doctor ddmnist
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement

from equigrid.commands.output import console
from equigrid.commands.shared import ERROR, WORKSPACE, Root
from equigrid.config.experiment import load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError, StoreError, masked
from equigrid.exchange.importing import rebuild_store
from equigrid.machine import cluster, cores, memory
from equigrid.own_parts.beside import hiding
from equigrid.own_parts.commit import UNKNOWN, our_commit
from equigrid.own_parts.user_errors import in_one_line
from equigrid.planning.workspace import Workspace
from equigrid.tracking.look import look
from equigrid.training.memory import kept

#: (state, what, remedy): ok, warning or problem.
Diagnosis = tuple[str, str, str]
SMALL_DISK = 5e9
#: Imported to see whether they can be.
NEEDED = ("torch", "h5py", "matplotlib.figure", "mlflow.tracking")


def doctor(
    name: Annotated[str | None, typer.Argument(help="Also check a search space's data.")] = None,
    workspace: Root = WORKSPACE,
    repair_store: Annotated[
        bool,
        typer.Option(
            "--repair-store",
            help="Only write the workspace's MLflow file anew from its records; the old is kept.",
        ),
    ] = False,
) -> None:
    if repair_store:
        aside, count = rebuild_store(Workspace(workspace))
        kept = f"; the old store is {aside}" if aside else ""
        console.print(f"{count} records tracked anew{kept}", highlight=False, soft_wrap=True)
        return
    if not examine(name, workspace):
        raise typer.Exit(ERROR)


def examine(name: str | None, root: Path) -> bool:
    """Print every finding; False where there is a problem (warnings do not count)."""
    checks: list[Callable[[], Iterator[Diagnosis]]] = [
        _versions,
        _imports,
        lambda: _raw(name),
        lambda: _disk(root),
        _memory,
        lambda: _mlflow(Workspace(root)),
        _ray,
        _gpu,
    ]
    healthy = True
    signs = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}
    for check in checks:
        for state, what, remedy in check():
            healthy &= state != "problem"
            console.print(f"{signs[state]} {what}", highlight=False, soft_wrap=True)
            if remedy:
                console.print(f"    {remedy}", highlight=False, markup=False, soft_wrap=True)
    return healthy


def _versions() -> Iterator[Diagnosis]:
    yield "ok", f"Python {platform.python_version()}", ""
    commit = our_commit()
    remedy = "`git config --global --add safe.directory FOLDER`, or name it in EQUIGRID_COMMIT"
    is_known = UNKNOWN not in commit
    yield "ok" if is_known else "warning", f"commit: {commit}", "" if is_known else remedy
    try:
        wanted = [Requirement(line) for line in requires("equigrid") or []]
    except PackageNotFoundError:
        yield "problem", "equigrid is not installed", "run `make setup`, or `pip install .`"
        return
    for requirement in wanted:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield "problem", f"{requirement.name} is missing", f"pip install '{requirement}'"
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield "ok", f"{requirement.name} {found}", ""
        else:
            need = f"pip install '{requirement}'"
            yield "problem", f"{requirement.name} {found}, not {requirement.specifier}", need


def _imports() -> Iterator[Diagnosis]:
    """What every run needs: an installation of the right versions may be broken all the same."""
    if hidden := hiding():
        yield "problem", hidden, "unset PYTHONPATH"
    for name in NEEDED:
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - what is broken raises anything
            package = name.partition(".")[0]
            remedy = f"pip install --force-reinstall {package}"
            yield "problem", f"{package} cannot be imported: {in_one_line(error)}", remedy


def _raw(name: str | None) -> Iterator[Diagnosis]:
    store, experiment = RawStore(), load_experiment(name) if name is not None else None
    if experiment is None:
        yield "ok", f"raw data folder: {store.folder} (name a search space to check its files)", ""
        return
    store = RawStore(beside=experiment.folder)
    told: set[str] = set()
    for dataset, resolved in experiment.datasets.items():
        files = [file for file in resolved.builder.raw_files if file.name not in told]
        told |= {file.name for file in files}
        absent = [file for file in files if not store.place(file).exists()]
        if not absent:
            try:
                resolved.recipe(store)
            except InputError as error:
                yield "problem", f"{dataset}: {error}", "remove the file, so that it is fetched"
                continue
            needs = "raw data is here" if resolved.builder.raw_files else "needs no raw data"
            yield "ok", f"{dataset}: {needs}", ""
        for file in absent:
            remedy = f"fetched from {file.url} by a run; without a network put it there by hand"
            if not file.url:
                remedy = f"put it there ({file.origin})"
            yield "warning", f"{store.place(file)} is not here yet", remedy


def _disk(root: Path) -> Iterator[Diagnosis]:
    place = Workspace(root).root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < SMALL_DISK:
        remedy = "free some, or use --workspace on a larger disk"
        yield "warning", f"{free / 1e9:.1f} GB free at {place}", remedy
    else:
        yield "ok", f"{free / 1e9:.0f} GB free at {place}", ""
    if not os.access(place, os.W_OK):
        yield "problem", f"{place} cannot be written", "use --workspace"


def _memory() -> Iterator[Diagnosis]:
    here = f"{memory() / 1e9:.1f} GB of memory"
    if most := kept():
        yield "ok", f"{here}; a training on the CPU keeps up to {most / 1e9:.1f} GB it freed", ""
    else:
        why = "GLIBC_TUNABLES decides" if "GLIBC_TUNABLES" in os.environ else "no glibc"
        yield "ok", f"{here}; what a training keeps of it is not ours to say: {why}", ""


def _mlflow(workspace: Workspace) -> Iterator[Diagnosis]:
    store = workspace.store("equigrid")
    path = store.database
    where = f"MLflow server: {store.uri}" if store.is_server else f"MLflow: {path or store.uri}"
    try:
        look(store)
    except StoreError as error:
        fault, _, remedy = str(error).partition("; ")
        if path is not None:
            yield "problem", f"MLflow: {fault}", remedy
            return
        own = "unset MLFLOW_TRACKING_URI to use the workspace's own store"
        yield "problem", f"{masked(where)}: {fault}", f"{remedy or 'start it'}, or {own}"
    except InputError as error:
        yield "problem", str(error), "name a server, or unset it to use the workspace's own store"
    else:
        to_come = path is not None and not path.exists()
        yield "ok", f"{masked(where)}{' will be made' if to_come else ''}", ""


def _ray() -> Iterator[Diagnosis]:
    # In a process of its own: importing Ray takes seconds and sets up its logging.
    code = "from pathlib import Path; from equigrid.orchestration import ray_start as it; "
    code += "it.start_ray(); print(it.ray.cluster_resources())"
    alone = cluster() is None
    remedy = "try `equigrid run --in-process`" if alone else "start it, or unset RAY_ADDRESS"
    try:
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        yield "problem", "Ray does not start within 120 s", remedy
        return
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no message"])[-1]
        said = last.partition("InputError: ")[2] or last
        yield "problem", f"Ray does not start: {said}", remedy
    else:
        own = f"{os.cpu_count()} cores here"
        given = own if cores() == os.cpu_count() else f"{cores()} of {own} for us"
        yield "ok", f"Ray starts; {given}" if alone else f"Ray answers at {cluster()}", ""
    shared = Path("/dev/shm")
    if shared.exists() and shutil.disk_usage(shared).free < 2e8:
        remedy = "give the container more shared memory (--shm-size)"
        yield "warning", "less than 200 MB of /dev/shm for Ray's object store", remedy


def _gpu() -> Iterator[Diagnosis]:
    try:
        from torch import cuda
    except Exception:  # noqa: BLE001 - said already, whatever it is
        return
    if cuda.is_available():
        yield "ok", f"GPU: {cuda.get_device_name(0)} ({cuda.device_count()})", ""
    elif shutil.which("nvidia-smi"):
        remedy = "install a torch build with CUDA"
        yield "warning", "a GPU is here, but this torch cannot use it", remedy
    else:
        yield "ok", "no GPU: trials run on the CPU, one thread each", ""
