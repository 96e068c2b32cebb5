"""A real MLflow server of one's own that can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import spaces


@dataclass
class TrackingServer:
    """`mlflow server` on SQLite below `folder`; as a context it is started and ended."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    _starter: threading.Thread | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> TrackingServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = spaces.free_port()
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._starter:
            self._starter.join()
        self.kill()

    def start(self) -> None:
        environ = spaces.environment(
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true"
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("mlflow"), "server",
                    "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
                    "--artifacts-destination", self.folder / "artifacts",
                    "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                ],
                env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to the server and its workers at once."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start_after(self, seconds: float) -> None:
        """Start it again in the background."""

        def later() -> None:
            time.sleep(seconds)
            self.start()

        self._starter = threading.Thread(target=later)
        self._starter.start()

    @property
    def answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            return bool(opener.open(f"{self.uri}/health", timeout=5).status == 200)
        except OSError:
            return False

    def wait(self) -> None:
        deadline = time.monotonic() + spaces.PATIENCE
        while not self.answers:
            log = (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"no MLflow server:\n{log[-3000:]}"
            time.sleep(0.2)
