"""The command line itself, and what its commands share."""

from __future__ import annotations

import codecs
import io
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from equigrid.errors import EndedEarlyError, InputError, masked
from equigrid.files import too_long
from equigrid.machine import give_home
from equigrid.tracking import settle
from equigrid.version import __version__

if TYPE_CHECKING:
    from equigrid.planning.ledger import Ledger
    from equigrid.planning.plan import Plan
    from equigrid.reporting.table import Table

# Into a file or a pipe, lines are not cut at 80 characters.
console = Console() if sys.stdout.isatty() else Console(width=160)
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
    print("equigrid: ending; Ctrl-C again to end at once", file=sys.stderr, flush=True)
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


def main() -> None:
    """Run a command; InputError is one line and exit code 2."""
    if sys.flags.optimize > 1:
        text = "PYTHONOPTIMIZE=2 (python -OO) takes the docstrings away that Ray and MLflow need"
        print(f"equigrid: {text}: unset it, or set it to 1", file=sys.stderr)
        sys.exit(BAD_INPUT)
    sys.excepthook = _show_traceback
    give_home()
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
        print(f"equigrid: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except typer.TyperException as error:
        print(f"equigrid: {masked(error.format_message())}; see --help", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except OSError as error:
        fault = too_long(Path(str(error.filename or "")))
        print(f"equigrid: {masked(str(fault or error))}", file=sys.stderr)
        sys.exit(ERROR)
    except EndedEarlyError as error:
        print(f"equigrid: {error}; {GO_ON}", file=sys.stderr)
        sys.exit(ERROR)
    except KeyboardInterrupt:
        print(f"equigrid: interrupted; {GO_ON}", file=sys.stderr)
        sys.exit(ended_by.pop() if ended_by else INTERRUPTED)
