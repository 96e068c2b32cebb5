"""Make the tables beside this file anew from the bundles, and the summary in docs/results.md.

    python results/update.py [NAME …]

Each bundle is imported into an empty workspace and its table made, without training anything:
NAME.md here, and in docs/results.md a line for each cell that was published and is whole.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"


def names() -> list[str]:
    """Of the bundles: a search space, and after a dot its profile."""
    return sorted(path.stem for path in HERE.glob("*.equigrid"))


def command(folder: Path, *arguments: str | Path) -> int:
    """Run an equigrid command in a folder; its exit code."""
    code = [sys.executable, "-c", "from equigrid.cli import main; main()"]
    run = subprocess.run([*code, *arguments], cwd=folder, stdout=subprocess.DEVNULL, check=False)
    return run.returncode


def table(name: str, run: Callable[..., int] = command) -> tuple[str, str]:
    """The table of a bundle as Markdown, and its lines of the summary."""
    space, _, profile = name.partition(".")
    with tempfile.TemporaryDirectory() as made_in:
        folder = Path(made_in)
        if run(folder, "import", HERE / f"{name}.equigrid"):
            raise RuntimeError(f"{name}: its bundle cannot be imported")
        # Exit code 3 where cells are missing; which those are stands in the table.
        if run(folder, "tables", space, *(("--profile", profile) if profile else ())) not in (0, 3):
            raise RuntimeError(f"{name}: no table can be made of it")
        made = folder / "workspace" / "tables" / name
        lines = "\n".join(_lines(name, pandas.read_csv(made / "table.csv")))
        return (made / "table.md").read_text("utf-8"), lines


def _lines(name: str, cells: pandas.DataFrame) -> Iterator[str]:
    """Of each published cell that is whole and no control: published, ours, n, verdict."""
    whole = (cells["n"] == cells["wanted"]) & cells["published_mean"].notna()
    for _, cell in cells[whole & cells["control_of"].isna()].iterrows():
        published = f"{cell['published_mean']:.3f}"
        if cell["published_std"] == cell["published_std"]:
            published += f" ({cell['published_std']:.3f})"
        verdict = cell["verdict"]
        if verdict != verdict:
            verdict = f"{cell['difference']:+.3f}, not the published setting"
        yield (
            f"| {cell['row']} / {cell['column']} | {published} | {cell['mean']:.3f} "
            f"({cell['std']:.3f}) | {verdict} | {cell['n']:.0f} | [{name}](../results/{name}.md) |"
        )


def replaced(page: str, name: str, lines: str) -> str:
    """The page with the summary's lines of a bundle anew, in their place or last."""
    begin, middle, end = re.split(r"(?<=<!-- summary -->\n)|(?=<!-- end -->)", page)
    head, rest = middle.splitlines()[:2], middle.splitlines()[2:]
    link = f"[{name}]("
    first = next((n for n, line in enumerate(rest) if link in line), len(rest))
    kept = [line for line in rest if link not in line]
    rest = [*kept[:first], *filter(None, lines.splitlines()), *kept[first:]]
    return begin + "\n".join([*head, *rest]) + "\n" + end


def main() -> None:
    page = PAGE.read_text("utf-8")
    os.environ.pop("EQUIGRID_RAW_DIR", None)  # the tables are what the records say
    for name in sys.argv[1:] or names():
        text, lines = table(name)
        (HERE / f"{name}.md").write_text(text, "utf-8")
        page = replaced(page, name, lines)
        print(f"{name}: made anew")
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
