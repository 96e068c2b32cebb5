"""The `ray` command, without the Ray Client server that `ray start --head` always starts.

It listens on every interface, nothing here uses it, and no option turns it off (2.60 refuses port
0). Ray's start hook may: it is given the parameters before anything starts.
"""

from __future__ import annotations

import os
from typing import Any

from ray.scripts.scripts import main


def drop(parameters: Any, head: bool) -> None:
    parameters.ray_client_server_port = None
    del os.environ["RAY_START_HOOK"]  # not for what is started from here


if __name__ == "__main__":
    os.environ["RAY_START_HOOK"] = "ray_without_client.drop"
    main()
