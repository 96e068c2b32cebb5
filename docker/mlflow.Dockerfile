# MLflow's server, with accounts and a driver for PostgreSQL.
#
#   docker build -f docker/mlflow.Dockerfile -t equigrid-mlflow:0.1.0 .
ARG BASE_IMAGE=python:3.11.13-slim-bookworm
FROM ${BASE_IMAGE}

ARG UID=1000
RUN groupadd --gid "$UID" equigrid \
    && useradd --uid "$UID" --gid "$UID" --create-home equigrid \
    && install --directory --owner="$UID" --group="$UID" /artifacts

# Exact: a newer server changes the tables of the database, and there is no way back.
ARG MLFLOW_VERSION=3.17.2
COPY docker/constraints.txt /opt/equigrid/constraints.txt
RUN pip install --no-cache-dir --disable-pip-version-check \
    --constraint /opt/equigrid/constraints.txt \
    "mlflow[auth]==${MLFLOW_VERSION}" "psycopg2-binary>=2.9,<3" httptools uvloop
COPY docker/scripts /opt/equigrid/scripts

ENV PYTHONUNBUFFERED=1 MLFLOW_ARTIFACTS_DESTINATION=/artifacts
USER equigrid
WORKDIR /artifacts

HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 \
    CMD python3 /opt/equigrid/scripts/healthy.py "${MLFLOW_PORT:-5000}" /health
CMD ["/opt/equigrid/scripts/mlflow-server.sh"]
