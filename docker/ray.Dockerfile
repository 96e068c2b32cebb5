# The head, the workers and the jobs of a Ray cluster: one image, since their versions must agree.
#
#   docker build -f docker/ray.Dockerfile -t equigrid-ray:0.1.0 .
#   … --build-arg TORCH_INDEX_URL=…    the package index with the build of torch that is wanted
#   … --build-arg GIT_COMMIT=$(git describe --always --abbrev=40 --dirty=+changes)
#
# Without an index pip takes torch's usual build, on Linux the one for CUDA. It brings CUDA's
# libraries with it and needs of the machine only the driver, so that both kinds share this base.
ARG BASE_IMAGE=python:3.11.13-slim-bookworm
FROM ${BASE_IMAGE}

# wget: KubeRay's probes call it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*

ARG UID=1000
RUN groupadd --gid "$UID" equigrid \
    && useradd --uid "$UID" --gid "$UID" --create-home equigrid \
    && install --directory --owner="$UID" --group="$UID" /workspace

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# By itself and first: it is most of the image, and changes least.
ARG TORCH_INDEX_URL=
RUN pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "torch>=2.11,<2.14"

# What equigrid needs, before equigrid: a changed line of it costs seconds and no layer of 1.2 GB.
COPY pyproject.toml docker/constraints.txt /opt/equigrid/source/
RUN python3 -c "import tomllib; project = tomllib.load(open('/opt/equigrid/source/pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['cluster'], sep='\\n')" > /tmp/requirements.txt \
    && pip install --constraint /opt/equigrid/source/constraints.txt --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

COPY README.md LICENSE /opt/equigrid/source/
COPY pipeline /opt/equigrid/source/pipeline
COPY stages /opt/equigrid/source/stages
COPY search_spaces /opt/equigrid/source/search_spaces
RUN pip install --no-deps /opt/equigrid/source
COPY docker/scripts /opt/equigrid/scripts

# What is installed here has no checkout to ask: each record says what was built.
ARG GIT_COMMIT=
ENV EQUIGRID_COMMIT=${GIT_COMMIT}
ENV EQUIGRID_WORKSPACE=/workspace RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER equigrid
WORKDIR /workspace

# Ray's agent runs on every node, and knows whether the node is alive.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 \
    CMD ["python3", "/opt/equigrid/scripts/healthy.py", "52365", "/api/local_raylet_healthz"]
CMD ["/opt/equigrid/scripts/ray-worker.sh"]
