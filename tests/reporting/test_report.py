"""The report: one page that needs nothing else, says what is missing, and is the same each time."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import spaces

from equigrid.config.experiment import Experiment, load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.planning.ledger import Ledger
from equigrid.planning.plan import Gap, Plan, make_plan
from equigrid.planning.workspace import Failure, Workspace
from equigrid.record import Record, Result
from equigrid.reporting import formats
from equigrid.reporting.assembly import assemble
from equigrid.reporting.page import charts
from equigrid.reporting.page.content import report, run_pages
from equigrid.reporting.page.page import ArmSection, Chart, Content, Run, Section, render
from equigrid.reporting.table import Cell, Table
from equigrid.reporting.verdicts import Published, Verdict
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.tracking.store import Tracked, TrackedRun, identity_of
from equigrid.trial import Trial

TESTED = {"test": {"accuracy": 0.5}, "test_augmented": {"accuracy": 0.75}}
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """A page's elements as (tag, attributes); `problems` is empty where all of them close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.problems: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._cell: tuple[str, list[str]] | None = None
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> never closes" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "td":
            self._cell = attributes.get("class", ""), []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes something else, line {self.getpos()[0]}")
        if tag == "td" and self._cell:
            self.cells.append((self._cell[0], " ".join("".join(self._cell[1]).split())))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._cell[1].append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def scores(self) -> list[tuple[str, str]]:
        """(class, text) of the table's cells, without the mark of the best."""
        return [
            (kind, re.sub(r" [◆◇]", "", text))
            for kind, text in self.cells
            if kind.startswith("cell")
        ]


def check(text: str) -> Page:
    """What holds of every page."""
    page = Page(text)
    assert page.problems == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("#", "data:", "figures/"))
            if attributes.get(name, "").startswith("#"):
                assert attributes[name][1:] in ids
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert "://" not in text
    # The one script is the page's own, and the policy lets no other run.
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (policy,) = (it for it in page.all("meta") if "http-equiv" in it)
    assert policy["content"].startswith("default-src 'none'")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["content"].endswith(f"script-src 'sha256-{digest}'")
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert re.search(r"\d", svg["aria-label"])
    assert len(page.all("figure")) == len(page.all("svg")) == len(page.all("figcaption"))
    assert all(it["scope"] in ("row", "col") for it in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(headings))
    return page


def experiment(folder: Path, **changes: Any) -> Experiment:
    return load_experiment(str(spaces.write(folder / "tiny.yaml", **changes)))


def now(wanted: Experiment, workspace: Workspace, tracked: Tracked | None = None) -> Plan:
    return Ledger(wanted, workspace).known_with(tracked)


def record(trial: Trial, test: Any = None, **options: Any) -> Record:
    """A record that nobody trained, with equivariance errors."""
    made = spaces.made_up(trial, test, **options)
    history = tuple(it | {"val_equivariance_error": it["val_loss"] / 9} for it in made.history)
    return replace(made, history=history, validation=history[-1] if history else {})


def finish(
    wanted: Experiment, workspace: Workspace, but: Iterable[str] = (), **options: Any
) -> Plan:
    """Records of every trial whose description does not begin with one of `but`."""
    for role, test in (("grid", None), ("final", TESTED)):
        for trial in now(wanted, workspace).missing(role):
            if not trial.describe().startswith(tuple(but)):
                record(trial, test, **options).save(workspace.record_file(trial.key))
    return now(wanted, workspace)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_whole_table_is_one_page_and_its_figures(tmp_path: Path) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")
    plan = finish(wanted, workspace)
    runs = {
        identity_of(trial): TrackedRun(f"run-{trial.seed}", "FINISHED", plan.results[trial.key])
        for trial in plan.all_trials()
    }
    plan = now(wanted, workspace, Tracked(runs))
    table = assemble(plan)
    paths = report(plan, table, workspace, tmp_path / "out")
    assert paths[0] == tmp_path / "out" / "index.html"
    assert set(files(tmp_path / "out")) == {
        "index.html", "figures/heat-map-cnn-d1.pdf", "figures/heat-map-ours-d1.pdf",
        "figures/curves-d1.pdf", "figures/equivariance-augmented.pdf",
        "figures/equivariance-plain.pdf", "figures/seeds-augmented.pdf",
        "figures/seeds-plain.pdf", "figures/differences-augmented.pdf",
        "figures/differences-plain.pdf",
    }  # fmt: skip
    assert {str(path.relative_to(tmp_path / "out")) for path in paths} == set(
        files(tmp_path / "out")
    )
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths[1:])
    text = paths[0].read_text()
    page = check(text)
    assert page.scores() == [
        ("cell whole", formats.score(table.cells[row, column]))
        for row in table.rows
        for column in table.columns
    ]
    # What each heat map marks is what was selected, and it leads to the finals' runs.
    for group, chosen in plan.selections.items():
        assert chosen is not None
        label = next(
            it["aria-label"] for it in page.all("svg") if f"{chosen.score:.4f}" in it["aria-label"]
        )
        rates = f"lr {chosen.point['lr']:g}"
        if group[0] == "Ours":
            rates += f", λ {chosen.point['lambda']:g}"
        assert f"selected {rates} with {chosen.score:.4f}" in label
        assert text.count(f"{charts.SELECTED} {chosen.score:.4f}") == 1
    for trial in plan.all_trials():
        assert trial.key[:12] in text
        assert f"run-{trial.seed}" in text
    assert "equigrid show tiny.yaml &#34;Ours/plain&#34;" in text
    assert "D1: the data files are not in this workspace." in text
    # Both networks have one size: a figure of scores by size would show nothing.
    assert "have the same number of parameters." in text


def test_a_servers_runs_are_links_without_its_password() -> None:
    assert run_pages("sqlite:///mlflow.db") == ""
    assert run_pages("https://me:secret@host:5000/ml/") == "https://host:5000/ml/#/runs/"


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    for name, started in (("one", 1.7e9), ("two", 1.8e9)):
        workspace = Workspace(tmp_path / name)
        plan = finish(wanted, workspace, started=started)
        report(plan, assemble(plan), workspace, tmp_path / f"{name} out")
    assert files(tmp_path / "one out") == files(tmp_path / "two out")


def test_gaps_are_said_and_never_look_like_scores(tmp_path: Path) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")
    plan = finish(wanted, workspace, but=["CNN / D1  lr=0.01  seed 1", "Ours / D1  lr=0.003 λ=2"])
    (failed,) = plan.missing("grid")
    workspace.quarantine(Failure(failed, "it broke & <fell>", "Traceback", 3))
    plan = now(wanted, workspace)
    table = assemble(plan)
    text = report(plan, table, workspace, tmp_path / "out")[0].read_text()
    shown = dict(
        zip([(r, c) for r in table.rows for c in table.columns], check(text).scores(), strict=True)
    )
    for (row, column), (kind, score) in shown.items():
        cell = table.cells[row, column]
        assert kind == f"cell {'whole' if cell.is_whole else 'incomplete'}"
        assert score == formats.score(cell)
        assert cell.is_whole or score.startswith(("[", formats.DASH))
    assert shown["Ours", "plain"][0] == "cell incomplete"
    assert "it broke &amp; &lt;fell&gt;" in text
    assert "failed: lr 0.003, λ 2" in text


def test_without_a_single_run_everything_is_said_to_be_missing(tmp_path: Path) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")
    plan = now(wanted, workspace)
    text = report(plan, assemble(plan), workspace, tmp_path / "out")[0].read_text()
    page = check(text)
    assert all(kind == "cell incomplete" for kind, _ in page.scores())
    assert "0 of 6 cells whole" in text
    for missing in (
        "D1: no record of a final is in this workspace.",
        "augmented, plain: no cell of a trained method is whole.",
        "Not known: the runs' records are not in this workspace.",
    ):
        assert missing in text
    assert not (tmp_path / "out" / "figures" / "curves-d1.pdf").exists()


def test_a_table_from_mlflow_alone_has_all_but_curves_and_environments(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, seeds={"grid": [0], "final": [0]})
    known = finish(wanted, Workspace(tmp_path / "elsewhere"))
    recipes = {name: each.recipe(RawStore()) for name, each in wanted.datasets.items()}
    plan = make_plan(wanted, recipes, known.results, {}, {})
    workspace = Workspace(tmp_path / "workspace")
    text = report(plan, assemble(plan), workspace, tmp_path / "out")[0].read_text()
    assert all(kind == "cell whole" for kind, _ in check(text).scores())
    assert "no record of a final" in text
    assert (tmp_path / "out" / "figures" / "equivariance-plain.pdf").exists()


def test_a_dataset_that_could_not_be_made_is_said(tmp_path: Path) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")
    plan = make_plan(wanted, {}, {}, {}, {"D1": Gap("train.gz is missing")})
    text = report(plan, assemble(plan), workspace, tmp_path / "out")[0].read_text()
    assert {score for _, score in check(text).scores()} == {"– raw data missing"}
    assert "Nothing selected: there is no data." in text
    assert "D1: train.gz is missing." in text


def test_a_score_that_is_better_when_lower_selects_the_lowest(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 20, "patience": 3, "select": "val_loss"}
    wanted = experiment(tmp_path, training=training)
    workspace = Workspace(tmp_path / "workspace")
    plan = finish(wanted, workspace)
    text = report(plan, assemble(plan), workspace, tmp_path / "out")[0].read_text()
    check(text)
    scores = [plan.results[t.key].validation["val_loss"] for t in plan.grid["Ours", "D1"]]
    assert f"{charts.SELECTED} {min(scores):.4f}" in text


def test_inputs_are_shown_where_they_are_what_was_trained_on(tmp_path: Path, quiet: Any) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")
    recipe = wanted.datasets["D1"].recipe(RawStore())
    base = data_build(workspace, recipe, RawStore(), quiet)
    digest = augment_cache(workspace, recipe, base, quiet).cache_sha256

    def page(data_sha256: str) -> str:
        trial = now(wanted, workspace).missing("final")[0]
        made = replace(record(trial, TESTED), data_sha256=data_sha256)
        made.save(workspace.record_file(trial.key))
        plan = now(wanted, workspace)
        workspace.record_file(trial.key).unlink()
        return report(plan, assemble(plan), workspace, tmp_path / "out")[0].read_text()

    shown = page(digest)
    check(shown)
    assert shown.count("<image ") == 12
    assert "each under the group elements e, a, b, ba." in shown
    other = page("0" * 64)
    assert "<image " not in other
    assert "D1: the data are not shown" in other


def test_whatever_a_name_holds_is_shown_as_it_is() -> None:
    odd = "<b>&x λ (\"q\") 'p'"
    whole = Cell(odd, odd, odd, (0.5, 0.7), 2, "", {}, (), 9, Published(0.6, 0.1), (0, 1), (odd,))
    gap = replace(whole, values=(0.5,), gap=odd, published=None)
    table = Table(
        odd, odd, (odd, "Ours"), (odd,), frozenset({odd}), {odd: True},
        {(odd, odd): whole, ("Ours", odd): gap}, (odd,),
        {(odd, odd): Verdict("agrees", 0.01, None)},
    )  # fmt: skip
    figure = charts.curves([odd], {odd: [[0.5]]}, odd)
    chart = Chart("curves", odd, odd, charts.svg(figure, "curves", f"{odd} 1"))
    section = Section((chart,), (odd,))
    run = Run(odd, 0, "k" * 64, "failed", {odd: 0.5}, None, odd, odd, odd, odd, odd, odd)
    groups = tuple(
        ArmSection(row, odd, (odd,), odd, odd, None, (run,), (run,), (odd,)) for row in table.rows
    )
    nothing = Section((), (odd,))
    content = Content(
        table, odd, groups, nothing, nothing, section, nothing, nothing, (), nothing, ((odd, odd),),
        (({odd: odd}, 1),), (odd,),
    )  # fmt: skip
    text = render(content)
    page = check(text)
    assert not page.all("b")
    assert "&x" not in text
    kind, score = page.scores()[0]
    assert kind == "cell whole"
    # The verdict is a symbol and a word, whatever its colour.
    assert score.endswith("✓ agrees")
    assert "A published figure with ?" in text
    assert page.scores()[1] == ("cell incomplete", f"[{odd}] 0.5 (0) {formats.DOUBT}")
    assert text == render(content)


def test_results_of_two_seeds_a_grid_point_are_averaged(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, seeds={"grid": [0, 1], "final": [0]})
    workspace = Workspace(tmp_path / "workspace")
    plan = finish(wanted, workspace)
    results: dict[str, Result] = dict(plan.results)
    text = report(plan, assemble(plan), workspace, tmp_path / "out")[0].read_text()
    for trials in (plan.grid["CNN", "D1"][:2], plan.grid["Ours", "D1"][2:]):
        mean = sum(results[trial.key].validation["val_accuracy"] for trial in trials) / 2
        assert f"{mean:.4f}" in text
