"""`equigrid`: thin, a function a command; heavy imports happen inside the functions."""

from pipeline.cli import running, looking, checking  # isort: skip - the order of --help
from pipeline.cli.app import main

__all__ = ["checking", "looking", "main", "running"]
