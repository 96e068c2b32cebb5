"""`await_head.py HOST:PORT SECONDS`: waits for a connection, and prints this end's address."""

from __future__ import annotations

import socket
import sys
import time


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    deadline = time.monotonic() + float(sys.argv[2])
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                print(connection.getsockname()[0])
                return
        except OSError:
            if time.monotonic() >= deadline:
                sys.exit(1)
            time.sleep(1)


if __name__ == "__main__":
    main()
