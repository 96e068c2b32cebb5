"""Write a folder to begin with: a search space, and parts of your own with their tests.

With --arrays FILE the data are yours already: an .npz or HDF5 file of inputs and labels, and no
Python.

Example: equigrid init mine

Example: equigrid init mine --arrays digits.npz
"""

from __future__ import annotations

import shlex
import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.config.own_arrays import describe, space_of
from equigrid.errors import InputError
from equigrid.files import write_atomically
from equigrid.trial import FILE_NAME, FILE_NAMES, shown

PYTHON = ("parts.py", "test_parts.py")


def init(
    name: Annotated[str, typer.Argument(help="The folder, and the search space in it.")],
    arrays: Annotated[
        Path | None, typer.Option(help="An .npz or HDF5 file of inputs and labels.")
    ] = None,
) -> None:
    folder = Path(name)
    if not FILE_NAME.fullmatch(folder.name):
        raise InputError(f"{shown(folder.name)} is not a search space's name: {FILE_NAMES}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already, and not empty")
    if arrays is not None:
        text = space_of(folder.name, describe(arrays))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arrays, folder / arrays.name)
    else:
        starter = resources.files("equigrid.starter")
        text = starter.joinpath("search_space.yaml").read_text("utf-8").replace("NAME", folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        for file in PYTHON:
            write_atomically(folder / file, starter.joinpath(file).read_text("utf-8").encode())
    write_atomically(folder / f"{folder.name}.yaml", text.encode())
    console.print("written: " + ", ".join(sorted(str(it) for it in folder.iterdir())))
    console.print(f"cd {shlex.quote(str(folder))}", highlight=False, soft_wrap=True)
    if arrays is None:
        console.print("python -m pytest test_parts.py", highlight=False)
    console.print(f"equigrid plan {folder.name}.yaml", highlight=False)
    console.print(f"equigrid run {folder.name}.yaml", highlight=False)
