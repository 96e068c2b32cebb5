"""A model from beside a search space that misbehaves when it is told to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

HERE = Path(__file__).parent


class Moody(nn.Module):
    """A linear encoder and head. mood: `good`, `raises`, `offline`, `nan`, `dies`, or `slow`.

    Writes a line `MOOD PID` into `log.txt` for every training step it takes part in.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        latent: int = 10,
        mood: str = "good",
    ) -> None:
        super().__init__()
        self.mood = mood
        pixels = input_shape[0] * input_shape[1] * input_shape[2]
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, latent))
        self.head = nn.Sequential(nn.ELU(), nn.Linear(latent, outputs))

    def encode(self, x: Tensor) -> Tensor:
        if self.training:
            with (HERE / "log.txt").open("a") as log:
                log.write(f"{self.mood} {os.getpid()}\n")
            if self.mood == "raises":
                raise RuntimeError("this model only works on Tuesdays")
            if self.mood == "offline":
                raise ConnectionError("a disk far away")
            if self.mood == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mood == "slow":
                time.sleep(float((HERE / "pace.txt").read_text()))
        z: Tensor = self.encoder(x)
        if self.training and self.mood == "nan":
            z = z * torch.nan
        return z

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.encode(x))
        return y

    def artifacts(self) -> dict[str, bytes]:
        print(f"{self.mood} at last")
        return {"mood.txt": self.mood.encode()}
