"""Gives MLflow's two accounts the passwords of the secrets, before the server starts.

A database that could not hold every run is refused first.

MLflow by itself takes the administrator's password on the very first start only. Here the secret is
the truth on every start, so that a password is changed by changing its file. The jobs' account is
no administrator: it may write what it made, and read the rest.
"""

from __future__ import annotations

import os
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth import auth_config, bootstrap_admin_user, store
from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry
from sqlalchemy import text


def main() -> None:
    admin = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"]
    jobs = os.environ["MLFLOW_TRACKING_USERNAME"]
    if admin == jobs:
        sys.exit("MLFLOW_TRACKING_USERNAME is the administrator: jobs need an account of their own")
    try:
        with create_sqlalchemy_engine_with_retry(auth_config.database_uri).connect() as database:
            encoding = database.execute(text("SHOW server_encoding")).scalar_one()
        # initdb takes another one where the locale is C; every run whose name has a λ would fail.
        if encoding != "UTF8":
            hint = "createdb --encoding=UTF8 --template=template0"
            sys.exit(f"POSTGRES_DB: its encoding is {encoding}; allowed: UTF8 ({hint})")
        bootstrap_admin_user()
        for name, variable in (
            (admin, "MLFLOW_AUTH_ADMIN_PASSWORD"),
            (jobs, "MLFLOW_TRACKING_PASSWORD"),
        ):
            password = os.environ[variable]
            if not store.has_user(name):
                store.create_user(name, password)
            elif not store.authenticate_user(name, password):
                store.update_user(name, password=password)
    except MlflowException as error:
        sys.exit(str(error.message))


if __name__ == "__main__":
    main()
