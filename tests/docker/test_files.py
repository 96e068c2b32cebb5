"""What the files for containers promise: published ports, secrets, limits, and valid forms."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
GPU = DOCKER / "compose.gpu.yaml"
SERVICES: dict[str, Any] = COMPOSE["services"]
services = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))


def test_two_ports_are_published_and_to_this_machine_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"mlflow": ["127.0.0.1:5000:5000"], "ray-head": ["127.0.0.1:8265:8265"]}
    assert all(service.get("network_mode") is None for service in SERVICES.values())


def test_only_what_is_published_has_a_way_out():
    assert COMPOSE["networks"]["cluster"]["internal"] is True
    assert [name for name, network in COMPOSE["networks"].items() if not network] == ["published"]
    outside = {name for name, service in SERVICES.items() if "published" in service["networks"]}
    assert outside == {"mlflow", "ray-head"}
    assert all("cluster" in service["networks"] for service in SERVICES.values())


@services
def test_secrets_are_files_without_defaults(service):
    for name, value in service["environment"].items():
        if re.search("PASSWORD|SECRET|TOKEN|KEY", name):
            path = Path(value)
            assert name.endswith(("_FILE", "_PATH")), name
            assert path.parent == Path("/run/secrets")
            assert path.name in service["secrets"]
        else:
            # A password in an address would be one in the environment.
            assert not re.search(r"://[^/]*@", value), name
    for name in service["secrets"]:
        assert COMPOSE["secrets"][name] == {"file": f"docker/secrets/{name}"}


def test_a_password_reaches_only_those_who_use_it():
    holders = {
        secret: {name for name, service in SERVICES.items() if secret in service["secrets"]}
        for secret in COMPOSE["secrets"]
    }
    assert holders == {
        "postgres_password": {"postgres", "mlflow"},
        "mlflow_admin_password": {"mlflow"},
        "mlflow_tracking_password": {"mlflow", "ray-head"},
        "mlflow_form_key": {"mlflow"},
        "ray_token": {"ray-head", "ray-worker"},
    }


@services
def test_every_service_is_watched_restarted_limited_and_without_privileges(service):
    assert {"test", "interval", "timeout", "retries", "start_period"} <= service[
        "healthcheck"
    ].keys()
    assert service["restart"] == "unless-stopped"
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["user"].startswith("${EQUIGRID_UID:?")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


@pytest.mark.parametrize("file", [None, GPU], ids=["alone", "with GPUs"])
def test_the_object_store_fits_into_shared_memory(file):
    changed = yaml.safe_load(file.read_text())["services"] if file else {}
    for name in ("ray-head", "ray-worker"):
        service, change = SERVICES[name], changed.get(name, {})
        size = change.get("shm_size", service["shm_size"])
        environment = service["environment"] | change.get("environment", {})
        assert int(environment["RAY_OBJECT_STORE_MEMORY"]) < int(size.removesuffix("gb")) * 2**30


@pytest.mark.parametrize("files", [[], [GPU]], ids=["alone", "with GPUs"])
def test_compose_accepts_the_files(files, tmp_path):
    for program in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(program[0]):
            told = subprocess.run([*program, "version", "--short"], capture_output=True, text=True)
            if told.returncode == 0 and int(told.stdout.lstrip("v").split(".")[0]) >= 2:
                break
    else:
        pytest.skip("Compose v2 is not installed")
    settings = tmp_path / ".env"
    named = [word for file in (ROOT / "compose.yaml", *files) for word in ("-f", str(file))]
    command = [*program, "--env-file", str(settings), *named, "config"]
    own = ("EQUIGRID_", "RAY_")
    environment = {name: it for name, it in os.environ.items() if not name.startswith(own)}
    settings.write_text("EQUIGRID_UID=1234\nRAY_WORKERS=3\n")
    read = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert read.returncode == 0, read.stderr
    found = yaml.safe_load(read.stdout)
    assert set(found["services"]) == set(SERVICES)
    assert {it["user"] for it in found["services"].values()} == {"1234:1234"}
    assert found["services"]["ray-worker"]["deploy"]["replicas"] == 3
    settings.write_text("")
    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert refused.returncode
    assert "run docker/make-secrets.sh first" in refused.stderr


@pytest.mark.parametrize("name", ["ray", "mlflow"])
def test_an_image_has_no_root_no_secret_and_a_health_check(name):
    text = (DOCKER / f"{name}.Dockerfile").read_text()
    instructions = [line for line in text.splitlines() if re.match("[A-Z]+ ", line)]
    users = [line for line in instructions if line.startswith("USER ")]
    assert users == ["USER equigrid"]
    assert re.search(r"^ARG BASE_IMAGE=\S+:\d+\.\d+\.\d+-\S+$", text, re.M), (
        "the base is not pinned"
    )
    assert any(line.startswith("HEALTHCHECK ") for line in instructions)
    assert not re.search(r"(ARG|ENV) \S*(PASSWORD|SECRET|TOKEN)", text)
    for line in instructions:
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources), line
    # Nothing enters unless it is named, and secrets are not.
    rules = (DOCKER / f"{name}.Dockerfile.dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    assert not [rule for rule in rules if rule.startswith("!") and "secrets" in rule]
    for line in instructions:
        if line.startswith("COPY "):
            assert all(f"!{source}" in rules for source in line.split()[1:-1]), line


def test_images_take_the_versions_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch,) = [it for it in project["dependencies"] if it.startswith("torch>")]
    assert f'"{torch}"' in (DOCKER / "ray.Dockerfile").read_text()
    (mlflow,) = [it for it in project["dependencies"] if it.startswith("mlflow>=")]
    (server,) = re.findall(r"MLFLOW_VERSION=(\S+)", (DOCKER / "mlflow.Dockerfile").read_text())
    lowest = mlflow.removeprefix("mlflow>=")
    assert tuple(map(int, server.split("."))) >= tuple(map(int, lowest.split(".")))
    for file in (ROOT / "compose.yaml", DOCKER / "kuberay-rayjob.yaml", DOCKER / "ray-up.yaml"):
        tags = re.findall(r"image: equigrid-\w+:(\S+)", file.read_text())
        assert set(tags) == {project["version"]}, file


def test_the_pinned_versions_are_those_the_project_allows():
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    pinned = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if "==" in line)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "torch":  # its build is chosen by TORCH_INDEX_URL
            assert requirement.specifier.contains(pinned[name]), requirement
    assert not {"torch", "equigrid"} & pinned.keys()
    assert pinned["mlflow"] in (DOCKER / "mlflow.Dockerfile").read_text()


def test_code_enters_after_what_it_needs():
    """A changed line of it leaves the large layers as they are."""
    text = (DOCKER / "ray.Dockerfile").read_text()
    assert text.index("--requirement") < text.index("COPY pipeline") < text.index("--no-deps")


def test_the_image_of_head_and_workers_is_built_once():
    assert [name for name, it in SERVICES.items() if "build" in it] == ["mlflow", "ray-head"]
    assert SERVICES["ray-head"]["image"] == SERVICES["ray-worker"]["image"]


def test_ray_up_has_the_form_that_ray_demands():
    # Not imported: Ray takes its authentication from the environment when it is.
    (package,) = importlib.util.find_spec("ray").submodule_search_locations
    schema = json.loads((Path(package) / "autoscaler" / "ray-schema.json").read_text())
    config = yaml.safe_load((DOCKER / "ray-up.yaml").read_text())
    jsonschema.validate(config, schema)
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        (script,) = re.findall(r"/opt/equigrid/scripts/(\S+)", " ".join(config[commands]))
        assert (DOCKER / "scripts" / script).exists()


def test_the_rayjob_has_the_fields_that_kuberay_demands():
    """By hand: the definition of the resource has a million characters and is not at hand here."""
    job = yaml.safe_load((DOCKER / "kuberay-rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch("[a-z0-9-]{1,47}", job["metadata"]["name"])
    spec = job["spec"]
    assert set(spec) <= {
        "entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "backoffLimit", "rayClusterSpec", "activeDeadlineSeconds",
    }  # fmt: skip
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode")
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["authOptions"] == {"mode": "token"}
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert {"groupName", "minReplicas", "maxReplicas"} <= workers.keys()
    for group in (head, workers):
        # Ray's options are text, or the operator refuses the resource.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert {"name", "image", "resources", "env"} <= container.keys()
        assert {"limits", "requests"} <= container["resources"].keys()
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for variable in container["env"]:
            assert isinstance(variable.get("value", ""), str)
            assert "PASSWORD" not in variable["name"] or "secretKeyRef" in variable["valueFrom"]
    tracked = {it["name"] for it in workers["template"]["spec"]["containers"][0]["env"]}
    assert not [name for name in tracked if name.startswith("MLFLOW_")]


def test_secrets_are_never_committed():
    assert (DOCKER / "secrets" / ".gitignore").read_text().splitlines()[-2:] == ["*", "!.gitignore"]
