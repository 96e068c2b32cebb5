"""From Python: an experiment runs, and gives its table, its runs and its curves."""

from __future__ import annotations

import pytest
import spaces

from equigrid.errors import InputError
from equigrid.notebook import OpenExperiment, open_experiment

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> OpenExperiment:
    """Run from Python, into an empty workspace."""
    folder = tmp_path_factory.mktemp("notebook")
    path = spaces.write(folder / "tiny.yaml")
    experiment = open_experiment(str(path), workspace=folder / "workspace")
    assert isinstance(experiment, OpenExperiment)
    assert "seeds" in experiment._repr_html_() or "done" in experiment._repr_html_()
    assert experiment.runs().empty
    with pytest.raises(InputError, match="no record of a final"):
        experiment.curves()
    assert experiment.run() is experiment
    return experiment


def test_what_ran_is_there_at_once(ran: OpenExperiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert (ran.table()["gap"].isna()).all()
    ran.run(only="Ours/plain")
    assert "0 run now" in capsys.readouterr().out


def test_an_experiment_is_shown_as_its_table(ran: OpenExperiment) -> None:
    shown = ran._repr_html_()
    for text in ("<th>Method</th>", "<td>Ours</td>", "Ours − CNN", "Latents, D1"):
        assert text in shown
    mean = ran.table().loc[("Ours", "plain"), "mean"]
    assert f"<td>{mean:.3f} (" in shown


def test_runs_of_a_cell_of_a_row_and_of_all(ran: OpenExperiment) -> None:
    every = ran.runs()
    assert every.index.names == ["row", "dataset", "role", "seed"]
    assert len(every) == 4 + 5
    assert every["test/accuracy"].xs("grid", level="role").isna().all()
    ours = ran.runs("Ours")
    assert set(ours.index.get_level_values("row")) == {"Ours"}
    cell = ran.runs("Ours/plain")
    assert list(cell["key"]) == list(ours.xs("final", level="role")["key"])
    for wrong in ("Our", "Ours/plane"):
        with pytest.raises(InputError, match="Ours"):
            ran.runs(wrong)


def test_curves_are_a_figure_of_every_method(ran: OpenExperiment) -> None:
    (axes,) = ran.curves(score="train_loss").axes
    assert [line.get_label() for line in axes.lines] == ["CNN", "Ours"]
    history = ran.history("CNN/plain")
    assert len(axes.lines[0].get_xdata()) >= len(history)
    with pytest.raises(InputError, match=r"no such score; there are: .*train_loss"):
        ran.curves(score="accuracy")
    with pytest.raises(InputError, match="no such dataset; there are: D1"):
        ran.curves("D2")


def test_a_command_that_refuses_is_an_error(ran: OpenExperiment) -> None:
    with pytest.raises(InputError, match="Ours/nowhere"):
        ran.run(only=["Ours/nowhere"])
