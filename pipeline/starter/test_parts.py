"""pytest test_parts.py: what every part has to keep, by equigrid's own cases."""

import torch

from equigrid.testing import DatasetCase, MetricCase, ModelCase, ObjectiveCase


class TestBlobs(DatasetCase):
    dataset = {"builder": "parts:Blobs", "group": "C4", "samples": 40}


class TestNet(ModelCase):
    model = {"parts:Net": {"latent": 8}}
    input_shape, outputs = (1, 8, 8), 3


class TestShrinking(ObjectiveCase):
    objective = "parts:Shrinking"
    point = {"lr": 3e-3, "lambda": 0.01}


class TestTopTwo(MetricCase):
    metric = "parts:TopTwo"
    good = torch.eye(3), torch.tensor([0, 1, 2])
    bad = torch.tensor([[0.0, 1.0, 2.0]] * 3), torch.tensor([0, 1, 0])
