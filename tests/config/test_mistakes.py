"""Every mistake is one line with file, line, key, value and what is allowed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
import yaml
from example import SPACE, refusal, replaced

from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.trial import shown


@dataclass(frozen=True)
class Mistake:
    """`old` is replaced by `new`; the error is at the line of `at` (by default `new`'s first).

    key: dotted, as the message begins after file and line. says: patterns for value and remedy.
    """

    name: str
    old: str
    new: str
    key: str
    says: tuple[str, ...]
    at: str = ""


UNKNOWN_KEYS = [
    Mistake("top", "retries: 1", "retry: 1", "retry", ("'retry'", "allowed: .*retries")),
    Mistake(
        "dataset", "    digits: 3", "    digit: 3", "datasets.C4.digit",
        ("'digit'", "allowed: .*digits"),
    ),
    Mistake(
        "nested dataset", "train: 8", "trian: 8", "datasets.C4.per_label.trian",
        ("trian|8", "allowed: .*train"),
    ),
    Mistake(
        "artefacts", "draws: 2", "draw: 2", "datasets.C4.artefacts.draw",
        ("draw|2", "allowed: .*draws"),
    ),
    Mistake(
        "column", "    metric: accuracy\n", "    metrics: accuracy\n", "columns.C4.metrics",
        ("'metrics'", "allowed: .*metric"),
    ),
    Mistake(
        "row", "    objective: augmented", "    objectives: augmented", "rows.CNN.objectives",
        ("'objectives'", "allowed: .*objective"),
    ),
    Mistake(
        "row's training", "    objective: augmented",
        "    objective: augmented\n    training: {epoch: 3}",
        "rows.CNN.training.epoch", ("'epoch'", "allowed: .*epochs"), "    training: {epoch: 3}",
    ),
    Mistake(
        "row's selection", "    objective: augmented",
        "    objective: augmented\n    training: {select: val_loss}",
        "rows.CNN.training.select", ("training only",), "    training: {select: val_loss}",
    ),
    Mistake(
        "row's batch", "    objective: augmented",
        "    objective: augmented\n    training: {batch_size: 9999}",
        "rows.CNN.training.batch_size", ("9999", "training samples"),
        "    training: {batch_size: 999",
    ),
    Mistake(
        "grid", "lambda: [0.5, 2]", "lamda: [0.5, 2]", "rows.Ours.grid.lamda",
        ("'lamda'", "allowed: lr, weight_decay, lambda"),
    ),
    Mistake(
        "model", "{width: 12}", "{widht: 12}", "rows.Ours.model.small_cnn.widht",
        ("'widht'", "allowed: latent, width"),
    ),
    Mistake(
        "model without parameters", "model: small_cnn", "model: {majority: {width: 1}}",
        "rows.CNN.model.majority.width", ("'width'", "allowed: none"),
    ),
    Mistake(
        "objective", "task_weights: paper", "weights: paper",
        "rows.Ours.objective.regular_representation.weights",
        ("'weights'", "allowed: action, task_weights"),
    ),
    Mistake(
        "training", "epochs: 3", "epoch: 3", "training.epoch", ("'epoch'", "allowed: .*epochs")
    ),
    Mistake("seeds", "{grid: [0]", "{grids: [0]", "seeds.grids", ("'grids'", "allowed: .*grid")),
    Mistake("resources", "cpu: 1", "cpus: 1", "resources.cpus", ("'cpus'", "allowed: cpu, gpu")),
    Mistake(
        "a profile that is not chosen", "{epochs: 1}", "{epoch: 1}", "training.epoch",
        ("'epoch'", "allowed: .*epochs"),
    ),
    Mistake(
        "YAML's merge key", "    group: D1xD1", "    group: D1xD1\n    <<: {digits: 4}",
        "datasets.D1.<<", ("'<<'", "allowed: .*group"), "    <<"
    ),
]  # fmt: skip

WRONG_TYPES = [
    Mistake("title", "title: Test", "title: 5", "title", ("5", "string")),
    Mistake("seeds no mapping", "{grid: [0], final: [0, 1]}", "[1]", "seeds", (r"\[1\]", "mapping"),
            "seeds: ["),
    Mistake("row", "{model: majority}", "majority", "rows.Chance", ("'majority'", "mapping")),
    Mistake("split", "split: test_augmented", "split: [a]", "columns.C4.split",
            (r"\['a'\]", "string")),
    Mistake("digits", "digits: 3", "digits: 3.5", "datasets.C4.digits", ("3.5", "integer")),
    Mistake("digits out of range", "digits: 3", "digits: 11", "datasets.C4.digits",
            ("11", "less than or equal to 10")),
    Mistake("per_label", "{train: 8, val: 4, test: 5}", "8", "datasets.C4.per_label",
            ("8", "dictionary|mapping"), "per_label"),
    Mistake("per_label.train", "train: 8", 'train: "8"', "datasets.C4.per_label.train",
            ("'8'", "integer")),
    Mistake("mean", "    digits: 3", "    mean: .nan", "datasets.C4.mean", ("nan", "finite")),
    Mistake("grid", "grid: {lr: [1e-3, 3e-3]}", "grid: 1e-3", "rows.CNN.grid",
            ("0.001", "mapping")),
    Mistake("lr is no list", "lr: [1e-3, 3e-3]", "lr: 1e-3", "rows.CNN.grid.lr",
            ("0.001", "list")),
    Mistake("lr is a word", "[1e-3, 3e-3]", "[1e-3, fast]", "rows.CNN.grid.lr.1",
            ("'fast'", "number")),
    Mistake("lr negative", "[1e-3, 3e-3]", "[-1e-3]", "rows.CNN.grid.lr.0",
            ("-0.001", "greater than 0")),
    Mistake("lr is not a number", "[1e-3, 3e-3]", "[.nan]", "rows.CNN.grid.lr.0",
            ("nan", "finite|greater")),
    Mistake("lr infinite", "[1e-3, 3e-3]", "[1e999]", "rows.CNN.grid.lr.0", ("inf", "finite")),
    Mistake("lambda negative", "[0.5, 2]", "[0.5, -2]", "rows.Ours.grid.lambda.1",
            ("-2", "greater than or equal to 0")),
    Mistake("model", "model: small_cnn\n", "model: 5\n", "rows.CNN.model", ("5", "string|name")),
    Mistake("model's parameters", "{small_cnn: {width: 12}}", "{small_cnn: 12}", "rows.Ours.model",
            ("12", "dictionary|mapping")),
    Mistake("two models", "{small_cnn: {width: 12}}", "{small_cnn: {}, majority: {}}",
            "rows.Ours.model", ("small_cnn.*majority", "a name or")),
    Mistake("width", "width: 12", "width: wide", "rows.Ours.model.small_cnn.width",
            ("'wide'", "int")),
    Mistake("width true", "width: 12", "width: true", "rows.Ours.model.small_cnn.width",
            ("True", "int")),
    Mistake("width negative", "width: 12", "width: -1", "rows.Ours.model.small_cnn.width",
            ("-1", "greater")),
    Mistake("batch_size", "batch_size: 64", 'batch_size: "64"', "training.batch_size",
            ("'64'", "integer")),
    Mistake("epochs", "epochs: 3", "epochs: true", "training.epochs", ("True", "integer")),
    Mistake(
        "table", "retries: 1", "retries: 1\ntable: {deviation: sem}", "table.deviation",
        ("'sem'", "population.*sample"), "table: {",
    ),
    Mistake(
        "digits of per cent", "retries: 1", "retries: 1\ntable: {percent: true, digits: 1}",
        "table.digits", ("1:", "at least 2"), "table: {",
    ),
    Mistake("seeds", "final: [0, 1]", "final: 3", "seeds.final", ("3", "list")),
    Mistake("a seed", "final: [0, 1]", "final: [0, 0.5]", "seeds.final.1", ("0.5", "integer")),
    Mistake("cpu", "cpu: 1", "cpu: one", "resources.cpu", ("'one'", "number")),
    Mistake("cpu infinite", "cpu: 1", "cpu: .inf", "resources.cpu", ("inf", "finite")),
    Mistake("retries", "retries: 1", "retries: 11", "retries", ("11", "less than or equal to 10")),
    Mistake("a profile", "  other:\n    seeds: {final: [7]}", "  other: [7]", "profiles.other",
            (r"\[7\]", "mapping")),
    Mistake("profiles that are not chosen", "lr: [0.01]", "lr: [0]", "rows.CNN.grid.lr.0",
            ("0", "greater than 0")),
]  # fmt: skip

UNKNOWN_NAMES = [
    Mistake("model", "model: small_cnn\n", "model: big_cnn\n", "rows.CNN.model",
            ("'big_cnn'", "ddmnist_cnn, .*small_cnn")),
    Mistake("objective", "objective: augmented", "objective: augment", "rows.CNN.objective",
            ("'augment'", "augmented, .*regular_representation, two_views, unaugmented")),
    Mistake("builder", "builder: ddmnist\n    source: digits\n    group: C4xC4",
            "builder: digits\n    group: C4xC4", "datasets.C4.builder", ("'digits'", "ddmnist")),
    Mistake("group", "group: C4xC4", "group: Q8", "datasets.C4.group", ("'Q8'", "C4xC4")),
    Mistake("source", "source: digits\n    group: C4xC4", "source: letters\n    group: C4xC4",
            "datasets.C4.source", ("'letters'", "'mnist' or 'digits'")),
    Mistake("task_weights", "task_weights: paper", "task_weights: printed",
            "rows.Ours.objective.regular_representation.task_weights",
            ("'printed'", "'paper' or 'released'")),
    Mistake("artefact variant", "draws: 2", "variant: old", "datasets.C4.artefacts.variant",
            ("'old'", "'paper' or 'released'")),
    Mistake("column's dataset", "dataset: D1", "dataset: D9", "columns.D1.dataset",
            ("'D9'", "C4, D1")),
    Mistake("column's split", "split: test,", "split: val,", "columns.D1.split",
            ("'val'", "test_augmented, test")),
    Mistake("column's metric", "    metric: accuracy\n", "    metric: auc\n", "columns.C4.metric",
            ("'auc'", "accuracy")),
    Mistake("grid_for", "D1: {lambda: [1]}", "D9: {lambda: [1]}", "rows.Ours.grid_for.D9",
            ("'D9'", "C4, D1")),
    Mistake("select", "batch_size: 64", "select: accuracy", "training.select",
            ("'accuracy'", "val_accuracy, val_loss")),
    Mistake("module", "model: small_cnn\n", "model: nowhere:Net\n", "rows.CNN.model",
            ("'nowhere:Net'", "no module")),
    Mistake("module in a missing package", "model: small_cnn\n", "model: no.such.module:Net\n",
            "rows.CNN.model", ("'no.such.module:Net'", "no module")),
    Mistake("object", "model: small_cnn\n", "model: json:Net\n", "rows.CNN.model",
            ("'json:Net'", "json has no 'Net'")),
    Mistake("no module named", "model: small_cnn\n", "model: ':Net'\n", "rows.CNN.model",
            ("':Net'", "module")),
    Mistake("relative module", "model: small_cnn\n", "model: '..here:Net'\n", "rows.CNN.model",
            ("'..here:Net'", "module")),
    Mistake("a model that is none", "model: small_cnn\n", "model: math:pi\n", "rows.CNN.model",
            ("'math:pi'",)),
    Mistake("an objective's module", "objective: augmented", "objective: nowhere:Loss",
            "rows.CNN.objective", ("'nowhere:Loss'", "no module")),
    Mistake("a builder's object", "builder: ddmnist\n    source: digits\n    group: C4xC4",
            "builder: json:Data\n    group: C4xC4", "datasets.C4.builder",
            ("'json:Data'", "no 'Data'")),
    Mistake("a builder that is none", "builder: ddmnist\n    source: digits\n    group: C4xC4",
            "builder: math:pi\n    group: C4xC4", "datasets.C4.builder", ("'math:pi'", "Builder")),
    Mistake("a group that is none", "group: C4xC4", "group: math:pi", "datasets.C4.group",
            ("'math:pi'", "FiniteGroup")),
    Mistake("a function that gives no group", "group: C4xC4", "group: os:getcwd",
            "datasets.C4.group", ("'os:getcwd'", "FiniteGroup")),
    Mistake("a function that needs more", "group: C4xC4", "group: math:sqrt",
            "datasets.C4.group", ("math:sqrt: TypeError",)),
]  # fmt: skip

CONTRADICTIONS = [
    Mistake("a model of another task", "model: small_cnn\n", "model: field_cnn\n",
            "rows.CNN.model", ("field_cnn is for autoregression", "ddmnist is classification")),
    Mistake("a trivial model of another task", "{model: majority}", "{model: persistence}",
            "rows.Chance.model", ("persistence is for autoregression",)),
    Mistake("an objective of another task", "objective: augmented", "objective: autoregressive",
            "rows.CNN.objective", ("autoregressive is for autoregression", "small_cnn")),
    Mistake("a model of volumes", "model: small_cnn\n", "model: resnet3d\n",
            "rows.CNN.model", ("grids of 3 axes", "ddmnist has 2")),
    Mistake("two stop rules", "batch_size: 64", "patience: 3, trend: {after: 9, window: 2}",
            "training.trend", ("patience and trend",)),
    Mistake("no stop rule", "batch_size: 64", "patience: null", "training.patience",
            ("None", "trend")),
    Mistake("a trend without a window", "batch_size: 64", "trend: {after: 9}",
            "training.trend.window", ("required",)),
    Mistake("a learning rate that grows", "batch_size: 64", "lr_decay: 1.5", "training.lr_decay",
            ("1.5", "less than or equal to 1")),
    Mistake("a learning rate that falls to nothing by factors", "batch_size: 64",
            "schedule: {exponential: {to: 0}}", "training.schedule.exponential.to",
            ("0", "greater than 0")),
    Mistake("weights that nobody tests", "batch_size: 64", "tested: first", "training.tested",
            ("'first'", "'best' or 'last'")),
    Mistake("latent smaller than the group", "{width: 12}", "{width: 12, latent: 15}",
            "rows.Ours.model", ("15", "C4xC4", "latent >= 16")),
    Mistake("latent made smaller by a profile", "      CNN: {grid: {lr: [0.01]}}",
            "      Ours:\n        model: {small_cnn: {latent: 9}}", "rows.Ours.model",
            ("9", "C4xC4", "latent >= 16"), "        model: {small"),
    Mistake("no product group", "group: C4xC4", "group: C4", "datasets.C4",
            ("C4", "H x H", "C4xC4"), "  C4:\n    builder"),
    Mistake("not exact and no artefacts", "group: D1xD1", "group: C3xC3", "datasets.D1",
            ("C3xC3", "artefacts"), "  D1:\n    builder"),
    Mistake("a control of nothing", "  Chance: {model: majority}",
            "  Chance: {model: majority}\n  No: {control_of: Us, objective: two_views}",
            "rows.No.control_of", ("'Us'", "allowed: CNN, Ours"), "  No:"),
    Mistake("a control of a trivial row", "  Chance: {model: majority}",
            "  Chance: {model: majority}\n  No: {control_of: Chance, objective: two_views}",
            "rows.No.control_of", ("'Chance'", "allowed: CNN, Ours"), "  No:"),
    Mistake("a control without an objective", "  Chance: {model: majority}",
            "  Chance: {model: majority}\n  No: {control_of: Ours}",
            "rows.No", ("an objective is missing",), "  No:"),
    Mistake("a baseline that is none", "    objective: augmented",
            "    objective: augmented\n    baseline: Chance", "rows.CNN.baseline",
            ("'Chance'", "allowed: Ours"), "    baseline"),
    Mistake("empty grid", "[1e-3, 3e-3]", "[]", "rows.CNN.grid.lr", (r"\[\]", "at least 1")),
    Mistake("a value twice", "[1e-3, 3e-3]", "[1e-3, 3e-3, 0.001]", "rows.CNN.grid.lr",
            ("0.001", "twice")),
    Mistake("a seed twice", "final: [0, 1]", "final: [4, 1, 4]", "seeds.final", ("4", "twice")),
    Mistake("a cell twice", "  D1: {dataset: D1, split: test, metric: accuracy}",
            "  D1: {dataset: D1, split: test, metric: accuracy}\n"
            "  Again: {dataset: D1, split: test, metric: accuracy}",
            "columns.Again", ("'D1'", "same cell"), "  Again"),
    Mistake("a trivial row twice", "  Chance: {model: majority}",
            "  Chance: {model: majority}\n  Luck: {model: majority}", "rows.Luck",
            ("'Chance'", "same"), "  Luck"),
    Mistake("a row twice, once with its defaults", "  Chance: {model: majority}",
            "  Chance: {model: majority}\n"
            "  Net: {model: {small_cnn: {width: 16}}, objective: augmented, "
            "grid: {lr: [0.001, 0.003]}}",
            "rows.CNN", ("'Net'", "same"), "  CNN:"),
    Mistake("a dataset that no column shows",
            "  D1: {dataset: D1, split: test, metric: accuracy}",
            "  D1: {dataset: C4, split: test, metric: accuracy}", "datasets.D1",
            ("no column",), "  D1:\n    builder"),
    Mistake("lambda without need", "grid: {lr: [1e-3, 3e-3]}",
            "grid: {lr: [1e-3, 3e-3], lambda: [1]}", "rows.CNN.grid.lambda",
            ("'lambda'", "allowed: lr")),
    Mistake("lambda without need, for a dataset", "    grid: {lr: [1e-3, 3e-3]}",
            "    grid: {lr: [1e-3]}\n    grid_for:\n      D1: {lambda: [1]}",
            "rows.CNN.grid_for.D1.lambda", ("'lambda'", "allowed: lr"), "      D1: {lambda"),
    Mistake("training what is not trained", "{model: majority}",
            "{model: majority, grid: {lr: [1]}}", "rows.Chance.grid",
            ("majority is not trained", "no grid")),
]  # fmt: skip

MISSING = [
    Mistake("builder", "    builder: ddmnist\n    source: digits\n    group: D1xD1",
            "    group: D1xD1", "datasets.D1.builder", ("required|missing",), "  D1:\n    group"),
    Mistake("metric", "    metric: accuracy\n", "", "columns.C4.metric", ("required|missing",),
            "  C4:\n    dataset"),
    Mistake("model", "{model: majority}", "{}", "rows.Chance.model", ("required|missing",)),
    Mistake("objective", "    objective: augmented\n", "", "rows.CNN",
            ("objective is missing", "augmented, unaugmented"), "  CNN:"),
    Mistake("lr", "    grid: {lr: [1e-3, 3e-3]}\n", "", "rows.CNN", ("'lr' is missing", "list"),
            "  CNN:"),
    Mistake("lambda", "      lambda: [0.5, 2]\n    grid_for:\n      D1: {lambda: [1]}\n", "",
            "rows.Ours.grid", ("'lambda' is missing", "list"), "    grid:\n      lr"),
]  # fmt: skip


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(mistake, id=f"{kind}: {mistake.name}")
        for kind, mistakes in (
            ("unknown key", UNKNOWN_KEYS),
            ("type", WRONG_TYPES),
            ("unknown name", UNKNOWN_NAMES),
            ("contradiction", CONTRADICTIONS),
            ("missing", MISSING),
        )
        for mistake in mistakes
    ],
)
def test_a_mistake_is_named_with_file_line_key_value_and_remedy(write, mistake):
    text = replaced(mistake.old, mistake.new)
    marker = mistake.at or mistake.new.strip().splitlines()[0]
    line = text[: text.index(marker)].count("\n") + 1
    path = write(text)
    message = re.sub(r"(:\d+: )profile small: ", r"\1", refusal(path), count=1)
    assert message.startswith(f"{path}:{line}: {mistake.key}"), message
    rest = message.removeprefix(f"{path}:{line}: {mistake.key}")
    assert mistake.key == "" or rest[:1] in (":", "."), message
    for pattern in mistake.says:
        assert re.search(pattern, message.removeprefix(str(path))), f"{pattern} not in {message}"


BAD_NAMES = [
    "../x", "/etc/passwd", "a/b", "a\0b", "a\nb", "a\u202eb", "a" * 300, "", " ", ".", "..", "-x"
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:12])
@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        ("rows", "  CNN:\n", "  {}:\n"),
        ("datasets", "  D1:\n", "  {}:\n"),
        ("columns", "  D1: {dataset", "  {}: {{dataset"),
        ("profiles", "  other:\n", "  {}:\n"),
    ],
)
def test_names_that_could_leave_the_workspace_are_refused(write, place, old, new, name):
    """Rows, datasets, columns and profiles: names become parts of paths and of reports."""
    text = replaced(old, new.format(json.dumps(name)))
    path = write(text)
    message = refusal(path)
    line = text[: text.index(json.dumps(name))].count("\n") + 1
    assert message.startswith(f"{path}:{line}: {place}")
    assert shown(name) in message
    assert "letters" in message


@pytest.mark.parametrize(
    "name",
    [*BAD_NAMES, "./" + "a" * 300 + ".yaml", "no/such.yaml", "/no/such.yaml", "a/\0.yaml", "none"],
    ids=lambda name: ascii(name)[:12],
)
def test_search_spaces_that_are_not_there_are_refused(name, tmp_path, monkeypatch):
    """As a name or a path; a plain name that is unknown lists the known ones."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_experiment(name)
    message = str(caught.value)
    assert "\n" not in message or "\n" in name
    if name == "none":
        assert re.search("'none'; there are: .*ddmnist.*quickstart", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stem", ["a b", "ü", "a.b", "-a"])
def test_the_files_own_name_is_checked(write, stem):
    """It is part of the names of runs and tables."""
    message = refusal(write(name=f"{stem}.yaml"))
    assert "letters, digits, _ and -" in message


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param(SPACE + "retries: 2\n", 45, "'retries' is given twice", id="key twice"),
        pytest.param(
            replaced("epochs: 3", "epochs: 3, epochs: 4"), 34, "'epochs' is given twice",
            id="nested key twice",
        ),
        pytest.param(replaced("{epochs: 1}", "{epochs: 1"), 41, "not YAML", id="bracket open"),
        pytest.param("a:\n\tb: 1\n", 2, "not YAML", id="tab"),
        pytest.param(SPACE + "---\na: 1\n", 45, "not YAML", id="two documents"),
        pytest.param("title: !!python/name:os.system ''\n", 1, "not YAML", id="Python tag"),
        pytest.param("- 1\n- 2\n", 1, "mapping", id="a list"),
        pytest.param("just words\n", 1, "mapping", id="words"),
        pytest.param("", 1, "mapping", id="empty"),
        pytest.param("? [a, b]\n: 1\n", 1, "key", id="a key that is no name"),
        pytest.param("title: 1\ntitl\0e: 2\n", 2, "not YAML", id="NUL"),
        pytest.param("a: 1\nb: &b [*b]\n", 2, "not YAML", id="a list within itself"),
        pytest.param("a: 1\nb: 2020-13-45\n", 2, "not YAML", id="no such day"),
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_is_refused_with_its_line(write, text, line, says):
    path = write(text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: "), message
    assert says in message


def test_a_file_that_is_not_text_is_refused(write):
    path = write(b"title: \xff\xfe\n")
    assert str(path) in refusal(path)


def test_a_missing_section_is_named(write):
    """Whole sections, one after the other."""
    for section in ("datasets", "columns", "rows"):
        content = yaml.safe_load(SPACE)
        del content[section]
        path = write(yaml.safe_dump(content))
        assert refusal(path).startswith(f"{path}:1: {section}: Field required")


def test_an_unknown_profile_lists_the_known_ones(write):
    path = write()
    message = refusal(path, "tiny")
    for part in (str(path), "'tiny'", "small, other"):
        assert part in message


@pytest.mark.parametrize("chosen", [None, "small", "other"])
def test_a_mistake_in_any_profile_is_found_whichever_is_chosen(write, chosen):
    text = replaced("lr: [0.01]", "lr: []")
    path = write(text)
    line = text[: text.index("lr: []")].count("\n") + 1
    said = refusal(path, chosen)
    assert said.startswith(f"{path}:{line}: profile small: rows.CNN.grid.lr")


def test_what_only_a_profile_names_is_said_to_be_no_part_of_the_base(write):
    path = write(replaced("      CNN: {grid: {lr: [0.01]}}", "      CMM: {grid: {lr: [0.01]}}"))
    said = refusal(path)
    assert "profile small: rows.CMM.model: no such row in the base, and as a new one: " in said
