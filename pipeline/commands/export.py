"""Write what is finished of an experiment into one file, for `import` elsewhere.

The bundle holds its records, its table as last written and its search space, with hashes.

Example: equigrid export quickstart -o quickstart.equigrid
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Name, Profile, Root, open_ledger
from equigrid.exchange import exporting


def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    count = exporting.export(open_ledger(name, profile, workspace), output)
    console.print(f"{count} records written to {output}", highlight=False, soft_wrap=True)
