"""What a training ran on: recorded with it, never part of its key."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import pipeline
from pipeline.own_parts.commit import our_commit

PACKAGES = ("torch", "numpy", "h5py", "scikit-learn", "phiflow", "e3nn", "ray", "mlflow")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.machine()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@lru_cache
def environment(device: str) -> dict[str, str]:
    """Versions, commit and hardware, as strings."""
    hardware = torch.cuda.get_device_name(0) if device.startswith("cuda") else _processor()
    return {
        "equigrid": pipeline.__version__,
        "git_commit": our_commit(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "device": device,
        "hardware": hardware,
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "host": platform.node(),
    }
