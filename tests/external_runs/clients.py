"""Sweeps that real clients log into a store, each as its own users would: `clients.py NAME URI`.

Every client trains the same thing: two methods on two datasets, two learning rates, three seeds,
whose curves `truth` has. Each plants the faults that its users meet.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy

METHODS, DATASETS, RATES, SEEDS = ("res_net", "vit&co"), ("cifar", "svhn"), (0.1, 0.3), (0, 1, 2)
STEPS = 5


def truth(method: str, dataset: str, lr: float, seed: int) -> tuple[list[float], list[float]]:
    """Validation and test accuracy by epoch: each peaks somewhere, and not at the same place."""
    place = [METHODS.index(method), DATASETS.index(dataset), round(lr * 10), seed]
    draws = numpy.random.default_rng(place)
    base = 0.6 + 0.1 * place[0] + 0.05 * (place[2] == 3)
    return tuple(  # type: ignore[return-value]
        [round(float(it), 4) for it in base + draws.uniform(-0.1, 0.1, STEPS)] for _ in range(2)
    )


def sweep() -> Iterator[tuple[str, str, float, int]]:
    yield from itertools.product(METHODS, DATASETS, RATES, SEEDS)


def plain(uri: str) -> None:
    """A script of its own, over a year: two experiments, and whatever went wrong meanwhile."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    now = 1_700_000_000_000

    def log(
        experiment: str, params: dict[str, Any], metrics: list[tuple[str, float, int]],
        status: str = "FINISHED", name: str | None = None, **tags: str,
    ) -> str:  # fmt: skip
        nonlocal now
        now += 1000
        made = client.create_run(experiment, start_time=now, run_name=name)
        found = made.info.run_id
        client.log_batch(
            found,
            # A later entry of the same step was logged later: a restart.
            [Metric(key, value, now + n, step) for n, (key, value, step) in enumerate(metrics)],
            [Param(key, str(value)) for key, value in params.items()],
            [RunTag(key.replace("__", "."), value) for key, value in tags.items()],
        )
        if status != "RUNNING":
            client.set_terminated(found, status, now + 500)
        return found

    first = client.create_experiment("plain-first")
    second = client.create_experiment("plain-second")
    for number, (method, dataset, lr, seed) in enumerate(sweep()):
        val, test = truth(method, dataset, lr, seed)
        metrics = [("val_acc", it, step) for step, it in enumerate(val)]
        if method == METHODS[0]:
            metrics += [("test_acc", it, step) for step, it in enumerate(test)]
            metrics.insert(0, ("val_acc", 0.99, 0))  # written before a restart, and again after
            metrics.append(("val_acc", float("nan"), STEPS))  # it diverged after good epochs
        else:
            metrics.append(("test_acc", test[-1], STEPS))  # once, at the step after the last
        params = {"model": method, "data": dataset, "out": f"runs/{number}"}
        params["lr" if number % 2 else "learning_rate"] = ("%g", "%.0e", "%.3f")[seed] % lr
        if dataset == "svhn" and seed == 2:
            params["dropout"] = 0  # an option that came later
        parent = log(first, {"model": method, "data": dataset}, [("val_acc", 1.0, 0)], version="2")
        text = (f"{seed}", f"{seed}.0", f"seed_{seed}")[number % 3]
        log((first, second)[number % 2], params, metrics, version="2", seed=text,
            mlflow__parentRunId=parent)  # fmt: skip
    good = [("val_acc", 1.0, 0), ("test_acc", 1.0, 0)]
    wins = {"model": METHODS[0], "data": "cifar", "lr": "0.9"}
    for seed in (0, 1):  # a point of two seeds of three
        log(first, wins, good, seed=str(seed), version="2")
    log(first, wins, good, "FAILED", seed="2", version="2")
    log(first, {**wins, "lr": 0.1}, good, "RUNNING", seed="0", version="2")
    log(first, {**wins, "lr": 0.1}, good, seed="1", version="1")  # of other code
    log(first, {**wins, "lr": 0.1}, good, version="2")  # without a seed
    log(first, {**wins, "lr": 0.1}, good, seed="best", version="2")
    log(first, {**wins, "model": "other"}, good, seed="0", version="2")
    log(first, {**wins, "data": "mnist"}, good, seed="0", version="2")
    for seed in SEEDS:
        log(first, {**wins, "lr": 0.7}, [("val_acc", float("inf"), 0), ("test_acc", 1.0, 0)],
            seed=str(seed), version="2")  # fmt: skip
    client.delete_run(log(first, {**wins, "lr": 0.1}, good, seed="0", version="2"))
    client.delete_experiment(client.create_experiment("plain-archived"))


def tune(uri: str) -> None:
    """Ray Tune and its own callback for MLflow. Steps count from 1; one trial crashes."""
    import ray
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune import RunConfig, Tuner, grid_search, report

    def train(config: dict[str, Any]) -> None:
        setting = config["setting"]
        val, test = truth(config["model"], setting["data"], setting["lr"], setting["seed"])
        for step in range(STEPS):
            report({"val_acc": val[step], "test_acc": test[step]})
        if config["model"] == METHODS[1] and setting["seed"] == 2 and setting["lr"] == RATES[1]:
            raise RuntimeError("a node was lost")

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    settings = [{"data": d, "lr": lr, "seed": seed} for d, lr, seed in
                itertools.product(DATASETS, RATES, SEEDS)]  # fmt: skip
    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="tune")
    with tempfile.TemporaryDirectory() as folder:
        Tuner(
            train,
            param_space={"model": grid_search(list(METHODS)), "setting": grid_search(settings)},
            run_config=RunConfig(callbacks=[callback], storage_path=folder, verbose=0),
        ).fit()
    ray.shutdown()


def sklearn(uri: str) -> None:
    """GridSearchCV under autolog: a parent with the test score, and a child for each candidate."""
    import mlflow
    from sklearn.datasets import load_iris, load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.neighbors import KNeighborsClassifier

    mlflow.set_tracking_uri(uri)
    mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True, max_tuning_runs=None)
    grids = [
        (KNeighborsClassifier(), {"n_neighbors": [1, 5]}),
        (LogisticRegression(max_iter=2000), {"C": [0.01, 1.0]}),
    ]
    for (name, loader), (estimator, grid), seed in itertools.product(
        (("iris", load_iris), ("wine", load_wine)), grids, SEEDS
    ):
        mlflow.set_experiment(f"sklearn-{name}")
        x, y = loader(return_X_y=True)
        x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=seed, test_size=0.3)
        with mlflow.start_run(run_name=f"cv_seed_{seed}"):
            search = GridSearchCV(estimator, grid, cv=3).fit(x_train, y_train)
            search.score(x_test, y_test)
            mlflow.log_metric("truth", float((search.predict(x_test) == y_test).mean()))


def lightning(uri: str) -> None:
    """Lightning's trainer and logger: global steps, single precision, the test after the end."""
    # Its metrics library imports torchvision where that is installed, and medmnist installs it: a
    # torch without its operators cannot import it.
    import importlib.metadata
    import importlib.util

    distribution, find = importlib.metadata.distribution, importlib.util.find_spec

    def without(name: str) -> Any:
        if name == "torchvision":
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution(name)

    importlib.metadata.distribution = without  # type: ignore[assignment]
    importlib.metadata.version = lambda name: without(name).version
    importlib.util.find_spec = lambda name, package=None: (
        None if name.split(".")[0] == "torchvision" else find(name, package)
    )
    import logging

    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.loggers import MLFlowLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Network(pl.LightningModule):
        def __init__(self, val: list[float], test: float) -> None:
            super().__init__()
            self.layer, self.val, self.last = torch.nn.Linear(1, 1), val, test

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch[0]).square().mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_acc", self.val[min(self.current_epoch, STEPS - 1)])

        def test_step(self, batch: Any, index: int) -> None:
            self.log("test_acc", self.last)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 1)), 2)
    for method, dataset, lr, seed in sweep():
        val, test = truth(method, dataset, lr, seed)
        logger = MLFlowLogger("lightning", run_name=f"{method}-{seed}", tracking_uri=uri)
        logger.log_hyperparams({"model": method, "data": {"name": dataset}, "lr": lr, "seed": seed})
        trainer = pl.Trainer(
            max_epochs=STEPS, logger=logger, enable_progress_bar=False, log_every_n_steps=1,
            enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
            accelerator="cpu",
        )  # fmt: skip
        network = Network(val, test[-1])
        trainer.fit(network, loader, loader)
        trainer.test(network, loader, verbose=False)


def optuna(uri: str) -> None:
    """Optuna's callback: pruned and failed trials are FINISHED, a tag has their state."""
    import mlflow
    import optuna
    from optuna_integration import MLflowCallback

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    callback = MLflowCallback(tracking_uri=uri, metric_name="val_acc", create_experiment=False)
    # One more is pruned, with the best score of all.
    points = [*sweep(), (METHODS[0], DATASETS[0], 0.5, 0)]

    @callback.track_in_mlflow()
    def objective(trial: Any) -> float:
        method, dataset, _, seed = points[trial.number]
        lr = trial.suggest_float("lr", 0, 1)
        mlflow.log_params({"model": method, "data": dataset, "seed": seed})
        if trial.number == len(points) - 1:
            mlflow.log_metrics({"val_acc": 1.0, "test_acc": 1.0})
            raise optuna.TrialPruned
        val, test = truth(method, dataset, lr, seed)
        mlflow.log_metric("test_acc", test[-1])
        return val[-1]

    class InTurn(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, name: str, space: Any) -> float:
            return points[trial.number][2]

    study = optuna.create_study(direction="maximize", sampler=InTurn())
    study.optimize(objective, n_trials=len(points), callbacks=[callback])


if __name__ == "__main__":
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    {it.__name__: it for it in (plain, tune, sklearn, lightning, optuna)}[sys.argv[1]](sys.argv[2])
