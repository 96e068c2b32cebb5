"""The scripts that containers start: what they refuse, and how they say so. No server starts."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
SCRIPTS = DOCKER / "scripts"
SHELL = sorted([*SCRIPTS.glob("*.sh"), DOCKER / "make-secrets.sh"])

#: All that each script needs to go on to its server.
NEEDS = {
    "mlflow-server.sh": {
        "POSTGRES_PASSWORD": "a-password",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "b-password",
        "MLFLOW_TRACKING_USERNAME": "jobs",
        "MLFLOW_TRACKING_PASSWORD": "c-password",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "d-password",
        "POSTGRES_HOST": "localhost",
        "MLFLOW_ARTIFACTS_DESTINATION": "/artifacts",
    },
    "ray-head.sh": {
        "RAY_AUTH_TOKEN": "a-token",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_TRACKING_USERNAME": "jobs",
        "MLFLOW_TRACKING_PASSWORD": "c-password",
    },
    "ray-worker.sh": {"RAY_AUTH_TOKEN": "a-token", "RAY_HEAD_ADDRESS": "127.0.0.1:1"},
}
MISSING = [
    (script, name)
    for script, needs in NEEDS.items()
    for name in needs
    if name != "MLFLOW_TRACKING_URI"  # without it a head has nothing to track
]


@pytest.fixture
def start(tmp_path):
    """`start(script, environment, *arguments)`: with stand-ins for what would start a server.

    They print how they were called, and what of the environment they were given.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("mlflow", "ray", "python3"):
        program = programs / name
        program.write_text('#!/bin/sh\necho "${0##*/} $*"\nenv | sed "s/^/env /"\n')
        program.chmod(0o755)

    def run(script, environment, *arguments, real_python=False):
        if real_python:
            (programs / "python3").unlink()
            (programs / "python3").symlink_to(sys.executable)
        return subprocess.run(
            [SCRIPTS / script, *arguments],
            env={"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)} | environment,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


def refused(done, *words):
    """An exit code, and one line that says why."""
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(("script", "name"), MISSING, ids=[f"{s}-{n}" for s, n in MISSING])
@pytest.mark.parametrize("value", [None, "", " \t"], ids=["missing", "empty", "blank"])
def test_a_missing_secret_or_setting_is_one_clear_line(start, script, name, value):
    environment = NEEDS[script] | ({} if value is None else {name: value})
    if value is None:
        del environment[name]
    refused(start(script, environment), script, name)


@pytest.mark.parametrize("script", NEEDS)
@pytest.mark.parametrize("fault", ["absent", "empty", "folder", "doubled"])
def test_a_secrets_file_that_holds_none_is_one_clear_line(start, script, fault, tmp_path):
    name = "POSTGRES_PASSWORD" if script == "mlflow-server.sh" else "RAY_AUTH_TOKEN"
    file = tmp_path / "secret"
    if fault == "folder":
        file.mkdir()
    elif fault != "absent":
        file.write_text("\n" if fault == "empty" else "from the file\n")
    environment = NEEDS[script] | {f"{name}_FILE": str(file)}
    if fault != "doubled":
        del environment[name]
    refused(start(script, environment), script, name)


@pytest.mark.parametrize("script", NEEDS)
def test_no_secret_is_an_argument_of_a_server(start, script):
    values = [
        value for name, value in NEEDS[script].items() if "PASSWORD" in name or "TOKEN" in name
    ]
    done = start(script, NEEDS[script])
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if not line.startswith("env ")]
    assert commands
    assert not [value for value in values for line in commands if value in line]


def test_the_mlflow_server_asks_for_passwords_and_knows_its_hosts(start):
    done = start("mlflow-server.sh", NEEDS["mlflow-server.sh"])
    (command,) = [line for line in done.stdout.splitlines() if line.startswith("mlflow ")]
    assert "--app-name basic-auth" in command
    assert "--backend-store-uri postgresql+psycopg2://mlflow@localhost:5432/mlflow " in command
    assert "--serve-artifacts --artifacts-destination /artifacts" in command
    assert "--host 127.0.0.1 --port 5000" in command
    assert "--allowed-hosts localhost:5000,127.0.0.1:5000" in command
    # What the accounts were made with is gone; the database's password goes where libpq reads it.
    given = done.stdout[done.stdout.index(command) :]
    assert "env PGPASSWORD=a-password" in given
    assert "b-password" not in given
    assert "c-password" not in given


@pytest.mark.parametrize("value", ["host/../x", "host%20", "ho\nst", "a b"])
def test_an_address_with_characters_of_its_own_is_refused(start, value):
    environment = NEEDS["mlflow-server.sh"] | {"POSTGRES_HOST": value}
    refused(start("mlflow-server.sh", environment), "POSTGRES_HOST")


@pytest.mark.parametrize("script", ["ray-head.sh", "ray-worker.sh"])
def test_a_token_in_a_file_stays_there(start, script, tmp_path):
    """Ray reads the file by itself; so the token is in no process's environment."""
    file = tmp_path / "token"
    file.write_text("canary\n")
    for name in ("RAY_AUTH_TOKEN_FILE", "RAY_AUTH_TOKEN_PATH"):
        environment = NEEDS[script] | {name: str(file)}
        del environment["RAY_AUTH_TOKEN"]
        done = start(script, environment)
        assert done.returncode == 0, done.stderr
        assert "env RAY_AUTH_MODE=token" in done.stdout
        assert f"env RAY_AUTH_TOKEN_PATH={file}" in done.stdout
        assert "canary" not in done.stdout + done.stderr


def test_a_head_stays_on_this_machine_unless_told_and_hands_jobs_their_account(start):
    done = start("ray-head.sh", NEEDS["ray-head.sh"], "--labels", "a=b")
    command = done.stdout.splitlines()[0]
    assert "start --head --port 6379" in command
    assert "--dashboard-host 127.0.0.1 --dashboard-port 8265" in command
    assert "--disable-usage-stats --block --labels a=b" in command
    assert "env MLFLOW_TRACKING_USERNAME=jobs" in done.stdout
    assert "env MLFLOW_TRACKING_PASSWORD=c-password" in done.stdout


@pytest.mark.parametrize("script", ["ray-head.sh", "ray-worker.sh"])
def test_resources_are_numbers(start, script):
    settings = {"RAY_NUM_CPUS": "0", "RAY_NUM_GPUS": "2", "RAY_OBJECT_STORE_MEMORY": "100000000"}
    done = start(script, NEEDS[script] | settings | {"RAY_BLOCK": "false"})
    assert "--num-cpus 0 --num-gpus 2 --object-store-memory 100000000" in done.stdout
    assert "--block" not in done.stdout
    settings = {"RAY_MEMORY": "1; rm"}
    refused(start(script, NEEDS[script] | settings), "RAY_MEMORY", "number")


def test_a_worker_waits_for_its_head_but_not_for_ever(start):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"  # bound, and nobody listens
        environment = {"RAY_HEAD_ADDRESS": address, "RAY_HEAD_PATIENCE": "0"}
        done = start("ray-worker.sh", NEEDS["ray-worker.sh"] | environment, real_python=True)
        refused(done, address, "within 0 s")
        # It tries again each second, and comes through once there is a head.
        threading.Timer(1.5, listener.listen).start()
        environment["RAY_HEAD_PATIENCE"] = "30"
        done = start("ray-worker.sh", NEEDS["ray-worker.sh"] | environment)
        assert f"ray start --address {address}" in done.stdout
        assert "--node-ip-address 127.0.0.1" in done.stdout


RAY = """#!/bin/bash
# A Ray that drains as long as there is a trial, with a process of its own beside it.
trap 'echo "ray drains" >> LOG' TERM
cat > LOG.trial <<'END'
trap 'echo "$1 ended" >> LOG; exit 0' TERM
while :; do sleep 0.05; done
END
(exec -a ray::ResourceTrainable.train bash LOG.trial trial) & trial=$!
(exec -a ray::DashboardAgent bash LOG.trial agent) & agent=$!
echo started >> LOG
until ! kill -0 $trial 2> /dev/null; do wait $trial; done
kill -KILL $agent
exit 7
"""


def test_a_worker_that_is_told_to_end_drains_its_node_and_then_ends_its_trials(tmp_path):
    log, programs = tmp_path / "log", tmp_path / "programs"
    programs.mkdir()
    (programs / "ray").write_text(RAY.replace("LOG", str(log)))
    (programs / "ray").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as head:
        environment = NEEDS["ray-worker.sh"] | {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_HEAD_ADDRESS": f"127.0.0.1:{head.getsockname()[1]}",
        }
        worker = subprocess.Popen([SCRIPTS / "ray-worker.sh"], env=environment)
        deadline = time.monotonic() + 60
        while not log.exists() or "started" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker.terminate()
        # With the exit code of Ray itself, after it is gone.
        assert worker.wait(60) == 7
    lines = log.read_text().splitlines()
    assert lines == ["started", "ray drains", "trial ended"]


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "ray://head"])
def test_a_heads_address_is_host_and_port(start, address):
    environment = NEEDS["ray-worker.sh"] | {"RAY_HEAD_ADDRESS": address}
    refused(start("ray-worker.sh", environment), "host:port")


def test_healthy_is_an_answer_of_200_and_nothing_else():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(path):
        command = [sys.executable, SCRIPTS / "healthy.py", str(server.server_port), path]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    try:
        assert ask("/health").returncode == 0
        refused(ask("/other"), "503")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    refused(ask("/health"), "refused")


def test_made_secrets_are_random_private_and_kept(tmp_path):
    folder = tmp_path / "secrets"
    environment = {"PATH": os.environ["PATH"], "EQUIGRID_UID": str(os.geteuid() or 1000)}
    command = [DOCKER / "make-secrets.sh", folder]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    files = {path.name: path for path in folder.iterdir()}
    values = {path.read_text() for path in files.values()}
    assert len(files) == len(values) == 5
    assert all(len(value) == 64 for value in values)
    for path in files.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == int(environment["EQUIGRID_UID"])
    files["ray_token"].unlink()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    again = {path.read_text() for path in folder.iterdir()}
    assert len(again & values) == 4


def test_compose_is_told_once_whom_the_containers_run_as(tmp_path):
    """In .env beside compose.yaml; what somebody has changed there stays."""
    script = shutil.copy(DOCKER / "make-secrets.sh", tmp_path)
    (tmp_path / "docker").mkdir()
    script = shutil.move(script, tmp_path / "docker")
    environment = {"PATH": os.environ["PATH"]}
    subprocess.run([script], env=environment, check=True, capture_output=True)
    owner = os.geteuid() or 1000
    assert (tmp_path / ".env").read_text() == f"EQUIGRID_UID={owner}\nRAY_WORKERS=2\n"
    assert (tmp_path / "docker" / "secrets" / "ray_token").stat().st_uid == owner
    (tmp_path / ".env").write_text(f"RAY_WORKERS=7\nEQUIGRID_UID={owner}\n")
    subprocess.run([script], env=environment, check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == f"RAY_WORKERS=7\nEQUIGRID_UID={owner}\n"


def test_secrets_are_made_for_the_user_that_reads_them(tmp_path):
    wrong = "0" if os.geteuid() == 0 else str(os.geteuid() + 1)
    command = [DOCKER / "make-secrets.sh", tmp_path / "secrets"]
    environment = {"PATH": os.environ["PATH"], "EQUIGRID_UID": wrong}
    refused(
        subprocess.run(command, env=environment, capture_output=True, text=True), "EQUIGRID_UID"
    )
    assert not (tmp_path / "secrets").exists()


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_script_is_sound(script):
    subprocess.run(["sh", "-n", script], check=True)
    assert script.name == "common.sh" or os.access(script, os.X_OK)
    if shutil.which("shellcheck"):
        command = ["shellcheck", "--external-sources", script.name]
        done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
