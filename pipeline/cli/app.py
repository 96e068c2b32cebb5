"""The command line itself, and what its commands share."""

from __future__ import annotations

import codecs
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.logging import RichHandler

from equigrid.cli.output import console, tell
from equigrid.errors import EndedEarlyError, InputError, masked
from equigrid.files import too_long
from equigrid.machine import give_home
from equigrid.tracking import settle
from equigrid.version import __version__

if TYPE_CHECKING:
    from equigrid.planning.ledger import Ledger
    from equigrid.planning.plan import Plan
    from equigrid.reporting.table import Table

log = logging.getLogger("equigrid")

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Hyperparameter grids, tracked runs and finished tables for approximately equivariant "
    "networks.\n\nExample: equigrid run quickstart",
)

Name = Annotated[str, typer.Argument(help="A search space: its name, or a path to its YAML file.")]
Profile = Annotated[str | None, typer.Option(help="A profile of the search space.")]
Root = Annotated[
    Path, typer.Option("--workspace", envvar="EQUIGRID_WORKSPACE", help="Where everything lies.")
]
WORKSPACE = Path("workspace")

GO_ON = "run the same command again to go on"
ERROR, BAD_INPUT, GAPS, INTERRUPTED = 1, 2, 3, 130


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


def open_ledger(name: str, profile: str | None, workspace: Path) -> Ledger:
    """An experiment, by the words of the command line, in its workspace."""
    from equigrid.config.experiment import load_experiment
    from equigrid.planning.ledger import Ledger
    from equigrid.planning.workspace import Workspace

    return Ledger(load_experiment(name, profile), Workspace(workspace))


def show_table(table: Table) -> None:
    from equigrid.reporting.formats import terminal

    for part in terminal(table):
        console.print(part)
    for note in table.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line whatever the width of the terminal, so that it can be searched and copied."""
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def end(plan: Plan) -> None:
    """Exit with 3 and the gaps' names where the table is not whole."""
    if plan.is_complete:
        return
    for dataset, gap in plan.gaps.items():
        warn(f"gap: {dataset}: {gap.reason}")
    for text in plan.undefined_texts():
        warn(f"gap: {text}")
    for trial in {t.key: t for t in plan.all_trials() if plan.is_failed(t)}.values():
        reason = plan.failures[trial.key]
        warn(f"failed: {trial.describe()}: {reason}")
    for trial in plan.all_trials():
        if refusal := plan.refusal(trial):
            warn(f"MLflow refuses {trial.describe()} ({trial.role}): {refusal}")
    missing = len(plan.missing("grid")) + len(plan.missing("final"))
    if missing:
        warn(f"missing: {missing} trials")
    raise typer.Exit(GAPS)


def _interrupt(signal_number: int, frame: object) -> None:
    """Ctrl-C once ends in order, with a word at once; twice ends now: Ray goes with its driver."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    tell("equigrid: ending; Ctrl-C again to end at once")
    raise KeyboardInterrupt


def end_on_signals() -> None:
    """A batch system's signal, or a terminal that closes, ends in order too, as one Ctrl-C does."""

    def terminate(signal_number: int, frame: object) -> None:
        ended_by.append(128 + signal_number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, terminate)


#: The exit code of what interrupted the command, where it was not Ctrl-C.
ended_by: list[int] = []

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
    signal.signal(signal.SIGINT, _interrupt)
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
