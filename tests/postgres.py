"""A PostgreSQL server of one's own: an empty database `postgres` with the user `mlflow`."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql/15/bin")


def is_missing() -> str:
    """Why there can be no server here, empty where there can."""
    return "" if (BINARIES / "initdb").exists() else f"no PostgreSQL in {BINARIES}"


def make(folder: Path, password: str) -> list[str]:
    """Initialise a server below a folder that any user may enter; the command that runs it.

    Passwords are asked for. It never runs as root, and listens nowhere before options say where.
    """
    as_user: list[str] = []
    folder.mkdir(exist_ok=True)
    file = folder / "password"
    file.write_text(password + "\n")
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            user = pwd.getpwnam("nobody")
        groups = ["--clear-groups", f"--regid={user.pw_gid}", f"--reuid={user.pw_uid}"]
        as_user = ["setpriv", *groups, "--"]
        for path in (folder, file):
            os.chown(path, user.pw_uid, user.pw_gid)
    data = folder / "data"
    initdb = [*as_user, str(BINARIES / "initdb"), "-D", str(data), "-U", "mlflow", "-N"]
    options = ["--auth=scram-sha-256", f"--pwfile={file}", "--encoding=UTF8"]
    made = subprocess.run([*initdb, *options], capture_output=True, text=True, cwd=folder)
    assert made.returncode == 0, made.stderr
    socket = f"-cunix_socket_directories={folder}"
    return [*as_user, str(BINARIES / "postgres"), "-D", str(data), socket]
