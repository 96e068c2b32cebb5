"""The command line: which commands there are, and how each ends."""

from __future__ import annotations

import codecs
import inspect
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from importlib import import_module, resources
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from rich.logging import RichHandler
from typer.core import TyperCommand, TyperGroup

from equigrid.commands.output import console, tell
from equigrid.commands.shared import BAD_INPUT, ERROR
from equigrid.commands.signals import INTERRUPTED, end_on_signals, ended_by, interrupt
from equigrid.errors import EndedEarlyError, InputError, masked
from equigrid.files import too_long
from equigrid.machine import give_home
from equigrid.tracking import settle
from equigrid.version import __version__

log = logging.getLogger("equigrid")

#: By panel, as --help shows them. Each is the function of its name in the file of its name.
PANELS = {
    "Begin": ("init", "list", "draft", "plan"),
    "Run": ("run", "submit", "train"),
    "Look": ("status", "show", "tables", "report", "compare", "ui", "analyse", "embed"),
    "Trust": ("verify", "replay", "doctor"),
    "Share": ("export", "import"),
}
#: Where the name is Python's own.
FILES = {"import": "import_files", "list": "list_parts"}
GO_ON = "run the same command again to go on"

#: Of the command line and of each command.
SETTINGS: dict[str, Any] = {"rich_markup_mode": "rich", "pretty_exceptions_enable": False}


class _Flags:
    """Shows no type of an option that takes no value."""

    def get_params(self, ctx: Any) -> Any:
        found = super().get_params(ctx)  # type: ignore[misc]
        for option in found:
            if getattr(option, "is_flag", False):
                option.metavar = ""
        return found


class _Called(_Flags, TyperCommand):
    """A command with its options."""


class Command(TyperCommand):
    """A command of `equigrid.commands`, whose file is imported when the command is called.

    All of them together take half a second to import. Its help is the file's docstring: the list of
    commands reads no more than that.
    """

    def __init__(self, name: str, panel: str) -> None:
        self.file = FILES.get(name, name)
        source = resources.files("equigrid.commands").joinpath(f"{self.file}.py").read_text("utf-8")
        text = inspect.cleandoc(source.split('"""')[1])
        super().__init__(name, help=text, rich_help_panel=panel)

    def make_context(self, *args: Any, **options: Any) -> Any:
        function = getattr(import_module(f"equigrid.commands.{self.file}"), self.file)
        single = typer.Typer(add_completion=False, **SETTINGS)
        single.command(self.name, help=self.help, cls=_Called)(function)
        return typer.main.get_command(single).make_context(*args, **options)


class Commands(_Flags, TyperGroup):
    """All commands by name."""

    def __init__(self, **options: Any) -> None:
        commands = [Command(name, panel) for panel, names in PANELS.items() for name in names]
        super().__init__(**{**options, "commands": commands})


app = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    help="Hyperparameter grids, tracked runs and finished tables for approximately equivariant "
    "networks.\n\nExample: equigrid run quickstart",
    **SETTINGS,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"equigrid {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The options before a command."""
    settle()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


#: For terminals without them; anything else becomes a question mark.
PLAIN = {"λ": "lambda", "✓": "+", "−": "-", "–": "-", "†": "*", "×": "x", "·": ".", "▸": ">"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in text), error.end


def _without_passwords(record: logging.LogRecord) -> bool:
    record.msg, record.args = masked(record.getMessage()), None
    return True


def _show_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """An error of ours, for whoever mends it: whole, but for passwords."""
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def _warnings_are_no_errors() -> None:
    """PYTHONWARNINGS=error fails what we stand on: Ray's processes end, MLflow is asked in vain."""
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        del os.environ["PYTHONWARNINGS"]
        warnings.filters = [it for it in warnings.filters if it[0] != "error"]


def main() -> None:
    """Run a command; InputError is one line and exit code 2."""
    if sys.flags.optimize > 1:
        text = "PYTHONOPTIMIZE=2 (python -OO) takes the docstrings away that Ray and MLflow need"
        tell(f"equigrid: {text}: unset it, or set it to 1")
        sys.exit(BAD_INPUT)
    sys.excepthook = _show_traceback
    try:
        Path.cwd()
    except FileNotFoundError:
        tell("equigrid: the working folder was deleted: `cd` to one that is there")
        sys.exit(BAD_INPUT)
    give_home()
    _warnings_are_no_errors()
    # A notebook's own backend is inherited by what it starts, and is not there for it.
    os.environ["MPLBACKEND"] = "agg"
    signal.signal(signal.SIGINT, interrupt)
    end_on_signals()
    codecs.register_error("plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")  # a terminal may know ASCII alone
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    handler.addFilter(_without_passwords)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    log.setLevel(logging.INFO)
    try:
        # Typer gives back the code of an Exit, 130 for Ctrl-C, None where a command just ends.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except InputError as error:
        tell(f"equigrid: {error}")
        sys.exit(BAD_INPUT)
    except typer.TyperException as error:
        tell(f"equigrid: {masked(error.format_message())}; see --help")
        sys.exit(BAD_INPUT)
    except ImportError as error:
        from equigrid.own_parts.beside import hiding

        if not (hidden := hiding()):
            raise
        tell(f"equigrid: {type(error).__name__}: {error}; {hidden}: unset it")
        sys.exit(BAD_INPUT)
    except OSError as error:
        fault = too_long(Path(str(error.filename or "")))
        tell(f"equigrid: {masked(str(fault or error))}")
        sys.exit(ERROR)
    except EndedEarlyError as error:
        tell(f"equigrid: {error}; {GO_ON}")
        sys.exit(ERROR)
    except KeyboardInterrupt:
        tell(f"equigrid: interrupted; {GO_ON}")
        sys.exit(ended_by.pop() if ended_by else INTERRUPTED)
