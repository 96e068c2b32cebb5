"""Rings: twelve sensors around a machine, two readings each, turned by steps of thirty degrees.

A dataset with inputs of no usual shape [2, 12] and with numbers for targets, which a turn does not
change: how strong the field is, and how rough.
"""

import numpy as np

from equigrid import Builder, Dataset, Parameters, fixed_views, on_device, random_stream, read_views

SENSORS = 12


class RingParameters(Parameters):
    samples: int = 240
    seed: int = 0


class Rings(Builder):
    """Its group turns the ring: any cyclic one whose order divides 12."""

    version = 1
    task = "regression:Regression"
    metrics = ("regression:MeanAbsoluteError",)
    validation_metrics = ("regression:MeanAbsoluteError",)
    test_splits = ("test", "turned")
    Parameters = RingParameters
    input_shape = (2, SENSORS)

    def __init__(self, parameters, group):
        super().__init__(parameters, group)
        if SENSORS % group.order:
            raise ValueError(f"a group of {group.order} does not turn a ring of {SENSORS}")

    @property
    def train_size(self):
        return self.parameters.samples

    def build(self, raw, progress):
        arrays = {}
        for split in ("train", "val", "test"):
            stream = random_stream(self.parameters.seed, split)
            waves = stream.normal(size=(self.parameters.samples, 2, 4)) / (1, 2, 3, 4)
            angle = 2 * np.pi * np.arange(SENSORS) / SENSORS
            shape = np.stack([np.cos(n * angle) for n in range(4)])
            field = (waves @ shape).astype(np.float32)
            step = field - np.roll(field, 1, 2)
            arrays[f"{split}/field"] = field
            arrays[f"{split}/targets"] = np.stack(
                [np.square(field).mean((1, 2)), np.square(step).mean((1, 2))], 1
            ).astype(np.float32)
        return arrays

    def augment(self, base, progress):
        steps = SENSORS // self.group.order
        turned = (np.arange(SENSORS) - steps * np.arange(self.group.order)[:, None]) % SENSORS
        arrays = {"action": turned}
        for split in ("val", "test"):
            size = len(base[f"{split}/targets"])
            arrays |= fixed_views(self.parameters.seed, split, size, self.group.order, 1)
        return arrays

    def resident(self, arrays, device):
        return ResidentRings(self, arrays, device)


class ResidentRings(Dataset):
    """All in memory; a turn is a gather."""

    draws, outputs = 1, 2

    def __init__(self, builder, arrays, device):
        self.group, self.task = builder.group, builder.task
        self.metrics, self.input_shape = builder.metrics, builder.input_shape
        self.sources = {"val": "val", "test": "test", "turned": "test"}
        self.views = {
            "val": read_views(arrays, "val", device),
            "turned": read_views(arrays, "test", device),
        }
        names = ("train", "val", "test")
        self._field = {name: on_device(arrays[f"{name}/field"], device) for name in names}
        self._targets = {name: on_device(arrays[f"{name}/targets"], device) for name in names}
        self._action = on_device(arrays["action"], device)

    def size(self, source):
        return len(self._field[source])

    def targets(self, source, rows):
        return self._targets[source][rows]

    def plain(self, source, rows):
        return self._field[source][rows]

    def view(self, source, rows, elements, draws):
        field = self._field[source][rows]
        return field.gather(2, self._action[elements][:, None].expand_as(field))
