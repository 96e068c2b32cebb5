"""Memory that a training keeps: what it saves, what bounds it, and that no number changes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from equigrid.training import memory

needs_glibc = pytest.mark.skipif(not memory.kept(), reason="memory is kept with glibc only")

STEPS = """
import json, os, resource, sys
import torch
from equigrid.training import memory
from equigrid.training.normalisation import with_accurate_sums
from equigrid.models.ddmnist_cnn import DDMNISTCNN

torch.set_num_threads(1)
if sys.argv[1] != "returned":
    memory.kept = lambda: int(sys.argv[1])
    memory.keep_freed()
torch.manual_seed(0)
model = DDMNISTCNN((1, 56, 56), 100)
with_accurate_sums(model)
model = model.to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(model.parameters())
x = torch.randn(96, 1, 56, 56)
losses, faults = [], []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimizer.zero_grad(set_to_none=True)
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item().hex())
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
del loss

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

held = resident()
memory.give_back()
print(json.dumps({"losses": losses, "faults": min(faults[2:]), "held": held, "left": resident()}))
"""


def _steps(kept: str) -> Any:
    """Five steps of table 4's network in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, kept], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@needs_glibc
def test_the_same_numbers_without_asking_for_pages_again() -> None:
    """With nothing kept, with all, and with too little for a step."""
    returned, kept, little = map(_steps, ("returned", str(memory.MOST), str(4 * 2**20)))
    assert kept["losses"] == returned["losses"] == little["losses"]
    assert kept["faults"] * 20 < returned["faults"]
    assert kept["faults"] * 20 < little["faults"]
    # What waits for its next trial holds nothing that it could give back.
    assert kept["left"] < kept["held"] - 50 * 2**20


def test_a_user_s_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000000")
    assert memory.kept() == 0
    assert memory.keep_freed() == 0
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert memory.kept() == 0
