"""`equigrid`: thin, a function a command; heavy imports happen inside the functions."""

from equigrid.cli import running, looking, checking  # isort: skip - the order of --help
from equigrid.cli.app import main

__all__ = ["checking", "looking", "main", "running"]
