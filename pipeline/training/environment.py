"""What a training ran on: recorded with it, never part of its key."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from equigrid.own_parts.commit import our_commit
from equigrid.version import __version__

PACKAGES = ("torch", "numpy", "h5py", "scikit-learn", "phiflow", "e3nn", "ray", "mlflow")


#: Of a processor's flags those by which libraries choose how they sum.
SUMS = ("avx", "fma", "f16c", "amx", "sse4", "asimd", "sve", "bf16", "i8mm")
#: Variables that choose it too.
CHOOSES = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip


def _cpuinfo(*names: str) -> str:
    """What Linux says of the first processor under one of these names; empty where nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((it.partition(":")[2].strip() for it in lines if it.startswith(names)), "")


def _arithmetic() -> dict[str, str]:
    """How sums are calculated on this processor: its model's name may stand for several kinds."""
    flags = set(filter(lambda flag: flag.startswith(SUMS), _cpuinfo("flags", "Features").split()))
    chosen = " ".join(f"{name}={os.environ[name]}" for name in CHOOSES if os.environ.get(name))
    return {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "instruction_sets": " ".join(sorted(flags)) or "not told",
        **({"arithmetic": chosen} if chosen else {}),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@lru_cache
def environment(device: str) -> dict[str, str]:
    """Versions, commit and hardware, as strings."""
    hardware = torch.cuda.get_device_name(0) if device.startswith("cuda") else ""
    hardware = hardware or _cpuinfo("model name") or platform.machine()
    return {
        "equigrid": __version__,
        "git_commit": our_commit(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "device": device,
        "hardware": hardware,
        **_arithmetic(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "host": platform.node(),
    }
