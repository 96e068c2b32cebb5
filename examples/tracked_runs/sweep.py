"""A sweep as anybody writes one: two methods on two datasets, tracked with MLflow, no equigrid.

Tracks into MLFLOW_TRACKING_URI: `MLFLOW_TRACKING_URI=sqlite:///mlflow.db python sweep.py`.
"""

import itertools

import mlflow
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

METHODS = {
    "linear": lambda lr, seed: SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=lr, random_state=seed
    ),
    "mlp": lambda lr, seed: MLPClassifier((16,), learning_rate_init=lr, random_state=seed),
}
DATASETS = {"digits": load_digits, "cancer": load_breast_cancer}
EPOCHS = 8

mlflow.set_experiment("sweep")
for method, dataset, lr, seed in itertools.product(METHODS, DATASETS, (0.001, 0.01, 0.1), range(3)):
    x, y = DATASETS[dataset](return_X_y=True)
    x_rest, x_test, y_rest, y_test = train_test_split(x, y, test_size=0.4, random_state=0)
    x_train, x_val, y_train, y_val = train_test_split(x_rest, y_rest, random_state=0)
    scaler = StandardScaler().fit(x_train)
    with mlflow.start_run(run_name=f"{method}-{dataset}"):
        mlflow.log_params({"model": method, "dataset": dataset, "lr": lr, "seed": seed})
        network = METHODS[method](lr, seed)
        for epoch in range(EPOCHS):
            network.partial_fit(scaler.transform(x_train), y_train, classes=np.unique(y))
            scores = {
                "val_acc": network.score(scaler.transform(x_val), y_val),
                "test_acc": network.score(scaler.transform(x_test), y_test),
            }
            mlflow.log_metrics(scores, step=epoch)
