"""What escnn 1.0.11 makes of kernels and layers: writes tests/data/escnn.npz, for the tests.

escnn needs an environment of its own (no Fortran: its other dependencies are left out):

    python3 -m venv oracle
    oracle/bin/pip install "torch>=2.11,<2.14" numpy==1.26.4 scipy joblib requests cloudpickle
    oracle/bin/pip install --no-deps escnn==1.0.11 lie_learn==0.0.2
    oracle/bin/python tests/steerable/oracle.py

Irreducibles are named by a label that does not depend on their basis; their matrices at some
elements are written too, so that the tests can change from one basis to the other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from escnn import group, gspaces, nn

PLANE = {
    "C4": (gspaces.rot2dOnR2(4), {"trivial": (0,), "degree 1": (1,), "cosine 2": (2,)}),
    "D1": (gspaces.flip2dOnR2(axis=np.pi / 2), {"trivial": (0,), "determinant": (1,)}),
    "D4": (
        gspaces.flipRot2dOnR2(4, axis=np.pi / 2),
        {"trivial": (0, 0), "determinant": (1, 0), "degree 1": (1, 1), "cosine 2": (0, 2),
         "sine 2": (1, 2)},
    ),
}  # fmt: skip
SPACE = {"trivial": (0,), "degree 1": (1,), "degree 2": (2,)}


def matrix_of(space: gspaces.GSpace, element: group.GroupElement) -> np.ndarray:
    """How an element moves points."""
    return np.asarray(space.basespace_action(element))


def kernels(space: gspaces.GSpace, size: int, into: tuple, out: tuple) -> np.ndarray:
    """[n, d_out, d_in, *size], orthonormal; n is 0 where there is none."""
    one, two = space.type(space.irrep(*into)), space.type(space.irrep(*out))
    convolution = nn.R2Conv if space.dimensionality == 2 else nn.R3Conv
    try:
        layer = convolution(one, two, size, bias=False)
    except ValueError as error:
        if "empty" not in str(error):
            raise
        return np.zeros((0, two.size, one.size, *[size] * space.dimensionality))
    count = layer.weights.numel()
    found = []
    for n in range(count):
        weights = torch.zeros(count)
        weights[n] = 1.0
        filters = layer.basisexpansion(weights)
        found.append(filters.detach().numpy().astype(np.float64))
    flat = np.array(found).reshape(count, -1)
    _, values, vectors = np.linalg.svd(flat, full_matrices=False)
    return vectors[values > 1e-6 * values[0]].reshape(-1, *np.shape(found)[1:])


def main() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    spaces = {name: (space, labels, (3, 5)) for name, (space, labels) in PLANE.items()}
    spaces["SO(3)"] = (gspaces.rot3dOnR3(), SPACE, (3,))
    for name, (space, labels, sizes) in spaces.items():
        elements = [space.fibergroup.sample() for _ in range(3)]
        found[f"{name}/elements"] = np.array([matrix_of(space, it) for it in elements])
        for label, identifier in labels.items():
            irrep = space.irrep(*identifier)
            found[f"{name}/{label}"] = np.array([irrep(it) for it in elements])
            for other, into in labels.items():
                for size in sizes:
                    basis = kernels(space, size, into, identifier)
                    found[f"{name}/{label}/{other}/{size}"] = basis.astype(np.float32)

    space, labels = PLANE["C4"]
    irreps = [space.irrep(*it) for it in labels.values()]
    x = rng.normal(size=(3, 2 * 4, 6, 6)).astype(np.float32)
    found["layers/fields"] = x
    whole = group.directsum(irreps)
    fields = space.type(*[whole] * 2)
    norm = nn.IIDBatchNorm2d(fields)
    found["layers/norm"] = (
        norm(nn.GeometricTensor(torch.from_numpy(x), fields)).tensor.detach().numpy()
    )
    trivial = space.type(space.trivial_repr)
    picture = rng.normal(size=(2, 1, 11, 11)).astype(np.float32)
    found["layers/picture"] = picture
    given = nn.GeometricTensor(torch.from_numpy(picture), trivial)
    found["layers/mask"] = nn.MaskModule(trivial, 11, margin=1)(given).tensor.numpy()
    pool = nn.PointwiseAvgPoolAntialiased2D(trivial, sigma=0.66, stride=2, padding=1)
    found["layers/pool"] = pool(given).tensor.numpy()
    path = Path(__file__).parents[1] / "data" / "escnn.npz"
    np.savez_compressed(path, **found)
    print(f"{path}: {len(found)} arrays, {path.stat().st_size / 1e3:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
