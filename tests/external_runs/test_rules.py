"""The rules by which runs become cells, one by one, on small frames whose answer is plain to see.

Each test fails when its rule is taken out: it plants the fault that the rule is about.
"""

from __future__ import annotations

from typing import Any

import pandas
import pytest

import equigrid

Line = dict[str, Any]


def run(run: str, **values: Any) -> Line:
    """A run of one line; by default lr 0.1, seed 0, validation and test 0.5."""
    return {"run": run, "model": "a", "lr": "0.1", "seed": 0, "val": 0.5, "test": 0.5, **values}


def curve(name: str, val: list[float], test: list[float | None], **values: Any) -> list[Line]:
    """A run with a line a step."""
    return [
        run(name, step=step, val=v, test=t, **values)
        for step, (v, t) in enumerate(zip(val, test, strict=True))
    ]


def made(lines: list[Line], **settings: Any) -> equigrid.RunsTable:
    """A table of those runs: one column of `test`, chosen by the highest `val` over lr."""
    given: dict[str, Any] = {
        "row": "model", "seed": "seed", "searched": ["lr"],
        "select": {"metric": "val", "mode": "max"},
        "columns": {"T": {"metric": "test", "higher_is_better": True}},
        **settings,
    }  # fmt: skip
    return equigrid.table(pandas.DataFrame(lines), **given)


def fates(table: equigrid.RunsTable) -> dict[str, str]:
    """What became of each run."""
    return dict(table.runs().set_index("run")["what_became_of_it"])


def cell(table: equigrid.RunsTable, row: str = "a") -> tuple[float, ...]:
    return table.assembled.cells[row, "T"].values


def notes(table: equigrid.RunsTable) -> str:
    return "\n".join(table.assembled.notes)


def test_a_score_is_that_of_the_step_that_validation_selects() -> None:
    lines = curve("r", [0.1, 0.9, 0.4], [0.2, 0.7, 0.99])
    assert cell(made(lines)) == (0.7,)
    assert cell(made(lines, scores_at="last")) == (0.99,)
    at_the_end = {"metric": "val", "mode": "max", "at": "last"}
    assert cell(made(lines, select=at_the_end)) == (0.99,)
    assert cell(made(lines, select={"metric": "val", "mode": "min"})) == (0.2,)


def test_of_equal_steps_the_earliest_counts() -> None:
    assert cell(made(curve("r", [0.9, 0.9], [0.3, 0.4]))) == (0.3,)


def test_never_the_nearest_step() -> None:
    """A test score at steps of its own is none of the selected step."""
    lines = curve("r", [0.1, 0.9, 0.4], [0.2, None, 0.3])
    table = made(lines)
    assert cell(table) == ()
    assert fates(table) == {"r": "no test at the selected step"}


def test_a_test_that_was_logged_once_is_the_runs_and_said_to_be() -> None:
    table = made(curve("r", [0.1, 0.9, 0.4], [None, None, 0.3]))
    assert cell(table) == (0.3,)
    assert "all were logged once for a run" in notes(table)


def test_of_several_values_at_a_step_the_later_one_counts() -> None:
    lines = [run("r", step=0, val=0.9, test=0.1), run("r", step=1, val=0.5, test=0.2),
             run("r", step=0, val=0.3, test=0.6)]  # fmt: skip
    assert cell(made(lines)) == (0.2,)


def test_what_is_not_finite_never_wins_and_is_named() -> None:
    huge = 1.7976931348623157e308  # how MLflow's databases hold infinity
    lines = [run("r", lr="0.1"), run("s", lr="0.2", val=huge), run("t", lr="0.3", val=float("inf"))]
    table = made(lines)
    assert table.assembled.cells["a", "T"].point == {"lr": 0.1}
    assert fates(table) == {"r": "in a cell", "s": "val not finite", "t": "val not finite"}


def test_a_good_epoch_before_the_end_counts_though_the_last_is_nan() -> None:
    lines = curve("r", [0.9, float("inf")], [0.7, 0.1])
    assert cell(made(lines)) == (0.7,)


def test_an_incomplete_point_does_not_win() -> None:
    """Its missing seed may be the one that failed."""
    lines = [run(f"g{s}", lr="0.1", seed=s, val=0.5) for s in range(4)]
    lines += [run(f"h{s}", lr="0.2", seed=s, val=0.9) for s in range(3)]
    lines += [run("h3", lr="0.2", seed=3, val=0.9, status="FAILED")]
    table = made(lines)
    assert table.assembled.cells["a", "T"].point == {"lr": 0.1}
    assert fates(table)["h0"] == "point without all its seeds"
    assert "1 without all seeds" in notes(table)
    used = made(lines, incomplete="use")
    assert used.assembled.cells["a", "T"].point == {"lr": 0.2}
    assert used.assembled.cells["a", "T"].gap == "3/4 seeds"
    assert "points that lack seeds compete" in notes(used)


def test_a_status_other_than_finished_counts_where_the_file_says_so() -> None:
    lines = [run("r", seed=0), run("s", seed=1, status="RUNNING")]
    assert fates(made(lines))["s"] == "status RUNNING"
    assert len(cell(made(lines, statuses=["FINISHED", "RUNNING"]))) == 2


def test_scores_within_rounding_tie_and_the_lower_value_wins_as_a_number() -> None:
    """'1e-1' is less than '0.3', and 0.8039999999999999 no worse than 0.804."""
    lines = [run("r", lr="0.3", val=0.804), run("s", lr="1e-1", val=0.8039999999999999)]
    assert made(lines).assembled.cells["a", "T"].point == {"lr": 0.1}
    clear = [run("r", lr="0.3", val=0.805), run("s", lr="1e-1", val=0.804)]
    assert made(clear).assembled.cells["a", "T"].point == {"lr": 0.3}


def test_numbers_are_compared_as_numbers() -> None:
    """0.001, 1e-3 and "1E-03" are one value: one point of three seeds."""
    lines = [run(f"r{s}", lr=lr, seed=s) for s, lr in enumerate(("0.001", "1e-3", "1E-03"))]
    assert len(cell(made(lines))) == 3


@pytest.mark.parametrize("text", ["3", "3.0", "seed_3", "Seed 3", "seed=3"])
def test_a_seed_by_any_of_its_spellings(text: str) -> None:
    assert made([run("r", seed=text)]).assembled.cells["a", "T"].seeds == (3,)


def test_a_seed_that_is_none_is_named_and_never_dropped_in_silence() -> None:
    table = made([run("r"), run("s", seed="three"), run("t", seed="")])
    assert fates(table) == {"r": "in a cell", "s": "seed is no whole number", "t": "without seed"}
    assert "1 seed is no whole number" in notes(table)


def test_a_seed_in_a_name_is_found_by_a_pattern() -> None:
    lines = [run("r", name="resnet_s7_final")]
    assert made(lines, seed={"key": "name", "pattern": r"_s(\d+)"}).assembled.cells[
        "a", "T"
    ].seeds == (7,)


def test_without_a_seed_key_runs_are_counted_and_not_paired() -> None:
    lines = [run("r"), run("s", test=0.7), run("t", model="b"), run("u", model="b")]
    table = made(lines, seed=None)
    assert cell(table) == (0.5, 0.7)
    assert table.assembled.comparisons == ()
    assert "no key says which" in notes(table)


def test_an_option_that_came_later_splits_no_point_where_its_default_is_given() -> None:
    lines = [run("r", seed=0), run("s", seed=1, **{"params.dropout": "0"})]
    with pytest.raises(equigrid.InputError, match=r"dropout \(0.0 and nothing in a\)"):
        made(lines).assembled  # noqa: B018 - it is read when it is asked for
    both = ["lr", "params.dropout"]
    assert fates(made(lines, searched=both))["r"] == "without params.dropout"
    table = made(lines, searched=both, missing={"params.dropout": 0})
    assert len(cell(table)) == 2
    assert "A run without dropout counts as dropout 0" in notes(table)


def test_a_parameter_that_varies_within_a_point_is_refused_unless_it_is_named() -> None:
    lines = [run(f"r{s}", seed=s, **{"params.width": w}) for s, w in enumerate((8, 16, 8))]
    with pytest.raises(equigrid.InputError, match=r"width \(16.0 and 8.0 in a\).*`searched`"):
        made(lines).assembled  # noqa: B018
    assert len(cell(made(lines, ignore=["params.width"]))) == 3
    assert "varies: width" in notes(made(lines, others="ignore"))


def test_what_is_each_runs_own_or_each_seeds_own_is_no_hyperparameter() -> None:
    lines = [
        run(f"r{s}{lr}", lr=lr, seed=s)
        | {"params.folder": f"out/{s}/{lr}", "params.data_seed": 100 + s}
        for s in range(3) for lr in ("0.1", "0.2")
    ]  # fmt: skip
    assert len(cell(made(lines))) == 3
    few = [run("r", seed=0) | {"params.width": 8}, run("s", seed=1) | {"params.width": 16}]
    with pytest.raises(equigrid.InputError, match=r"params\.width"):
        made(few).assembled  # noqa: B018


def test_two_runs_of_one_identity_are_refused_by_name_or_the_newest_counts() -> None:
    lines = [run("old", test=0.1), run("new", test=0.9)]
    with pytest.raises(equigrid.InputError, match=r"runs old and new are both a, lr 0.1, seed 0"):
        made(lines).assembled  # noqa: B018
    table = made(lines, duplicates="newest")
    assert cell(table) == (0.9,)
    assert fates(table)["old"] == "duplicate of a newer run"
    assert "the newest counts" in notes(table)


def test_a_test_metric_does_not_select_unless_every_cell_says_so() -> None:
    lines = [run("r"), run("s", lr="0.2", test=0.9)]
    by_test = {"metric": "test", "mode": "max"}
    with pytest.raises(equigrid.InputError, match=r"select\.metric: 'test' is column 'T'"):
        made(lines, select=by_test)
    table = made(lines, select=by_test, selection="on_test")
    assert cell(table) == (0.9,)
    assert "†" in table.markdown().splitlines()[4]
    assert "their scores flatter" in notes(table)


def test_selection_on_grid_seeds_and_scores_of_final_ones() -> None:
    lines = [run(f"g{lr}", lr=lr, seed=0, val=val, use="sweep", test=0.0)
             for lr, val in (("0.1", 0.6), ("0.2", 0.8))]  # fmt: skip
    lines += [run(f"f{lr}{s}", lr=lr, seed=s, val=0.1, test=0.9, use="final")
              for lr in ("0.1", "0.2") for s in (1, 2)]  # fmt: skip
    table = made(lines, grid={"use": "sweep"}, final={"use": "final"},
                 seeds={"grid": [0], "final": [1, 2, 3]})  # fmt: skip
    found = table.assembled.cells["a", "T"]
    assert (found.point, found.seeds, found.gap) == ({"lr": 0.2}, (1, 2), "2/3 seeds")
    assert fates(table)["g0.1"] == "in the selection alone"
    assert fates(table)["f0.11"] == "not at the selected point"


def test_rows_in_the_files_order_by_its_names_and_the_others_named() -> None:
    lines = [run("r", model="b"), run("s", model="a"), run("t", model="c")]
    table = made(lines, rows={"b": "Better", "a": "Average"})
    assert table.assembled.rows == ("Better", "Average")
    assert fates(table)["t"] == "row not in the table"
    assert "Rows that runs have and the table has not: c." in notes(table)


def test_a_row_by_two_keys() -> None:
    lines = [run("r", optimiser="sgd"), run("s", optimiser="adam")]
    assert made(lines, row=["model", "optimiser"]).assembled.rows == ("a, adam", "a, sgd")


def test_each_dataset_is_selected_over_by_itself() -> None:
    lines = [run(f"{d}{lr}", data=d, lr=lr, val=val, test=val / 2)
             for d, lr, val in (("x", "0.1", 0.9), ("x", "0.2", 0.1), ("y", "0.1", 0.2),
                                ("y", "0.2", 0.8))]  # fmt: skip
    columns = {d: {"dataset": d, "metric": "test", "higher_is_better": True} for d in "xy"}
    table = made(lines, dataset="data", columns=columns).assembled
    assert [table.cells["a", d].point for d in "xy"] == [{"lr": 0.1}, {"lr": 0.2}]


def test_published_figures_verdicts_and_a_reference_row() -> None:
    scores = {"a": (0.90, 0.91, 0.92), "b": (0.80, 0.81, 0.82), "c": (0.5, 0.6, 0.7)}
    lines = [run(f"{m}{s}", model=m, seed=s, test=v)
             for m, values in scores.items() for s, v in enumerate(values)]  # fmt: skip
    columns = {"T": {"metric": "test", "higher_is_better": True, "margin": 0.05}}
    published = {"a": {"T": ["0.910", 0.01, 5]}, "b": {"T": [0.95, 0.002, 5]}}
    table = made(lines, columns=columns, published=published, reference="b").assembled
    assert table.cells["a", "T"].published.decimals == 3
    assert {row: it.word for (row, _), it in table.verdicts.items()} == {
        "a": "agrees", "b": "below",
    }  # fmt: skip
    pairs = [(it.minuend, it.subtrahend, round(it.mean, 9)) for it in table.comparisons]
    assert pairs == [("a", "b", 0.1), ("c", "b", -0.21), ("c", "a", -0.31)]
    outcomes = {it[0]: found.word for it, found in table.outcomes.items()}
    assert outcomes == {"a": "better", "c": "undecided"}


def test_every_run_is_accounted_for_once_whatever_became_of_it() -> None:
    lines = [run("r"), run("s", lr="0.2", val=0.1), run("t", status="KILLED"), run("u", model=""),
             run("v", seed="x"), run("w", seed=1), run("x", lr="0.2", seed=1)]  # fmt: skip
    table = made(lines, seeds={"final": [0]})
    assert fates(table) == {
        "r": "in a cell", "s": "in the selection alone", "t": "status KILLED",
        "u": "without model", "v": "seed is no whole number", "w": "seed not wanted",
        "x": "seed not wanted",
    }  # fmt: skip
    assert sum(len(them) for them in table.collection.fates().values()) == len(lines)


def test_a_frame_and_its_table_know_each_other(tmp_path: Any) -> None:
    table = made([run(f"r{s}", seed=s, test=0.5 + s / 10) for s in range(3)])
    assert list(table.table()["n"]) == [3]
    assert "T" in table._repr_html_()
    assert "\\toprule" in table.latex()
    assert repr(table) == "<table table of the data frame>"
