"""What the latents of each row carry, from the analyses that a workspace has."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from equigrid.reporting.page import charts
from equigrid.reporting.page.figures import Figures
from equigrid.reporting.page.gallery import section
from equigrid.reporting.page.page import Chart, Section

#: As equigrid.training.analysis, which needs torch, names them.
TRAINED, UNTRAINED = "trained", "untrained"


def carried_section(figures: Figures) -> Section:
    """A dataset each; nothing where no run was analysed."""
    datasets = figures.plan.experiment.datasets
    analysed = {name: _analyses(figures, name) for name in datasets}
    if not any(analysed.values()):
        return Section()
    return section(datasets, lambda name: _drawn(figures, name, analysed[name]))


def _analyses(figures: Figures, dataset: str) -> dict[str, list[Mapping[str, Any]]]:
    """By row, of each run that was analysed."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in figures.trained:
        for trial in figures.plan.finals.get((row, dataset), ()):
            analysis = figures.workspace.analysis(trial.key)
            if analysis is not None:
                found.setdefault(row, []).append(analysis)
    return found


def _drawn(
    figures: Figures, dataset: str, analysed: Mapping[str, list[Mapping[str, Any]]]
) -> Chart | str:
    if not analysed:
        return "no run was analysed (equigrid analyse)"
    every = [run["networks"][TRAINED] for runs in analysed.values() for run in runs]
    known = [name for name, _ in next(iter(analysed.values()))[0]["irreducibles"]]
    # Of a group with many, those that are anywhere; the trivial one always.
    there = [n for n in range(len(known)) if not n or any(it["mean"][n] > 0.05 for it in every)]
    names = [known[n] for n in there]
    found, regular, told = {}, {}, []
    for row, runs in analysed.items():
        networks = [run["networks"][TRAINED] for run in runs]
        means = [fmean(it["mean"][n] for it in networks) for n in there]
        found[row] = means, [fmean(it["sd"][n] for it in networks) for n in there]
        regular[row] = [fmean(it["regular"][n] for it in networks) for n in there]
        told.append(f"{row}: {_told(runs)}")
    figure = charts.multiplicities(names, found, regular)
    caption = (
        "Multiplicity of each irreducible representation in the linear action that held-out "
        "latents carry (mean over analysed seeds; bars: standard deviation over resampled inputs); "
        "lines: a multiple of the regular representation of that dimension. " + " ".join(told)
    )
    counts = "; ".join(
        f"{row}: " + ", ".join(f"{n} {m:.2f}" for n, m in zip(names, means, strict=True))
        for row, (means, _) in found.items()
    )
    return figures.chart(figure, dataset, caption, f"{counts}.", "latents", dataset)


def _told(runs: list[Mapping[str, Any]]) -> str:
    def mean(network: str, name: str) -> str:
        values = [run["networks"][network][name] for run in runs]
        known = [value for value in values if value is not None]
        return f"{fmean(known):.3g}" if known else "–"

    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    none = sum(not run["networks"][TRAINED]["kept"] for run in runs)
    text = (
        f"{seeds}, {mean(TRAINED, 'kept')} of {mean(TRAINED, 'rank')} directions carry an action "
        f"(untrained {mean(UNTRAINED, 'kept')} of {mean(UNTRAINED, 'rank')}), held-out R² "
        f"{mean(TRAINED, 'r_squared')} of any linear action"
    )
    return text + (f", no linear action in {none}." if none else ".")
