"""`healthy.py PORT PATH`: exit code 0 if this machine answers there with 200.

Not urllib, which would ask a proxy.
"""

from __future__ import annotations

import http.client
import sys


def main() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    try:
        connection.request("GET", sys.argv[2])
        status: int | str = connection.getresponse().status
    except OSError as error:
        status = str(error)
    if status != 200:
        sys.exit(f"{sys.argv[2]} on port {sys.argv[1]}: {status}")


if __name__ == "__main__":
    main()
