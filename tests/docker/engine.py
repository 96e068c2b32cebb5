"""A container engine of one's own, and stand-ins for the base images that compose.yaml names.

Images cannot be pulled everywhere, and a test asks no public registry: the stand-ins are Debian's
python3 and PostgreSQL 15 by mmdebstrap, under the names that the files have. Python's has the
packages that the images install, downloaded once by pip. What is made is kept in the folder that
EQUIGRID_TEST_ENGINE names, if there is one: a second run takes a third of the time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("dockerd", "docker", "mmdebstrap")
PATHS = f"{os.environ['PATH']}:/usr/sbin"
PATIENCE = 120.0

POSTGRES = r"""#!/bin/sh
# What the official image does, as far as compose.yaml asks for it.
set -eu
mkdir -p "$PGDATA"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb -D "$PGDATA" -U "$POSTGRES_USER" --auth-local=trust --auth-host=scram-sha-256 \
        --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-k $PGHOST -c listen_addresses=''" start
    createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec postgres -D "$PGDATA" -k "$PGHOST" -c "listen_addresses=*"
"""


def why_not() -> str:
    """Why there can be no engine here, empty where there can."""
    if os.geteuid() != 0:
        return "a container engine needs root"
    for program in PROGRAMS:
        if shutil.which(program, path=PATHS) is None:
            return f"{program} is not installed"
    told = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True)
    if told.returncode or int(told.stdout.decode().lstrip("v").split(".")[0]) < 2:
        return "Compose v2 is not installed"
    return ""


class Engine:
    """Docker commands against an engine that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock"}

    def __call__(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["docker", *command], env=self.environment, cwd=cwd, capture_output=True, text=True
        )
        assert done.returncode == 0, f"docker {' '.join(command)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        found = subprocess.run(
            ["docker", "image", "inspect", image], env=self.environment, capture_output=True
        )
        return found.returncode == 0

    def inspect(self, container: str) -> dict:
        return json.loads(self("inspect", container))[0]


@contextmanager
def engine() -> Iterator[Engine]:
    kept = os.environ.get("EQUIGRID_TEST_ENGINE")
    folder = Path(kept or tempfile.mkdtemp(prefix="eqd"))
    folder.mkdir(exist_ok=True)
    dockerd = shutil.which("dockerd", path=PATHS)
    assert dockerd is not None
    found = Engine(folder)
    with (folder / "dockerd.log").open("ab") as log:
        process = subprocess.Popen(
            [dockerd, f"--data-root={folder}/root", f"--exec-root={folder}/exec",
             f"--pidfile={folder}/dockerd.pid", f"--host=unix://{folder}/docker.sock"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(
            ["docker", "info"], env=found.environment, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline, (folder / "dockerd.log").read_text()[-3000:]
            time.sleep(0.5)
        yield found
    finally:
        process.terminate()
        process.wait()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def base_images(found: Engine, uid: int) -> None:
    """Stand-ins for what the Dockerfiles and compose.yaml build on, where they are missing."""
    (python,) = re.findall(r"BASE_IMAGE=(\S+)", (ROOT / "docker/ray.Dockerfile").read_text())
    (postgres,) = re.findall(r"image: (postgres\S+)", (ROOT / "compose.yaml").read_text())
    if not found.has(python):
        wheels = _wheels(found.folder / "wheels")
        settings = found.folder / "pip.conf"
        settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        _debian(found, python, ["python3", "python3-pip", "wget"], [
            f"copy-in {wheels} /",
            f"copy-in {settings} /etc/",
            'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
            # With no source apt has nothing to ask for.
            'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
        ])  # fmt: skip
    if not found.has(postgres):
        entry = found.folder / "entry.sh"
        entry.write_text(POSTGRES)
        entry.chmod(0o755)
        _debian(found, postgres, ["postgresql-15"], [
            f"copy-in {entry} /",
            f'echo "equigrid:x:{uid}:{uid}::/tmp:/bin/sh" >>"$1"/etc/passwd',
            'mkdir -p "$1"/var/lib/postgresql/data',
            'chmod 1777 "$1"/var/lib/postgresql/data',
        ], 'ENTRYPOINT ["/entry.sh"]', "ENV PATH=/usr/lib/postgresql/15/bin:/bin PGHOST=/tmp",
        'VOLUME ["/var/lib/postgresql/data"]')  # fmt: skip


def _debian(found: Engine, image: str, packages: list[str], hooks: list[str], *more: str) -> None:
    tar = found.folder / "base.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
    command += [f"--customize-hook={hook}" for hook in hooks]
    subprocess.run([*command, "bookworm", str(tar)], check=True)
    changes = [word for change in more for word in ("--change", change)]
    found("import", *changes, str(tar), image)
    tar.unlink()


def _wheels(folder: Path) -> Path:
    """What the two images install, as pip here gets it."""
    if not folder.exists():
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
        text = (ROOT / "docker" / "mlflow.Dockerfile").read_text()
        (version,) = re.findall(r"MLFLOW_VERSION=(\S+)", text)
        wanted += [f"mlflow[auth]=={version}", "setuptools>=77", "wheel"]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder),
             "--constraint", str(ROOT / "docker" / "constraints.txt"), *wanted],
            check=True,
        )  # fmt: skip
    return folder
