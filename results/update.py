"""Make the tables in docs/results.md anew from the bundles beside this file.

    python results/update.py [NAME …]

Each bundle is imported into an empty workspace and its table made, without training anything; it
replaces what stands between `<!-- NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

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


def table(name: str, run: Callable[..., int] = command) -> str:
    """The table of a bundle as Markdown, without its title."""
    space, _, profile = name.partition(".")
    with tempfile.TemporaryDirectory() as made_in:
        folder = Path(made_in)
        if run(folder, "import", HERE / f"{name}.equigrid"):
            raise RuntimeError(f"{name}: its bundle cannot be imported")
        # Exit code 3 where cells are missing; which those are stands in the table.
        if run(folder, "tables", space, *(("--profile", profile) if profile else ())) not in (0, 3):
            raise RuntimeError(f"{name}: no table can be made of it")
        made = folder / "workspace" / "tables" / name / "table.md"
        text = made.read_text("utf-8").partition("\n")[2].strip()
        return re.sub(r"^## ", "#### ", text, flags=re.M)  # of parts, below a section here


def replaced(page: str, name: str, content: str) -> str:
    """The page with a table between the marks of its name."""
    begin, end = f"<!-- {name} -->\n", "\n<!-- end -->"
    # Up to the next mark, which has to be the end: never into another table.
    pattern = re.compile(re.escape(begin) + "(?:(?!<!-- ).)*?<!-- end -->", re.S)
    if len(pattern.findall(page)) != 1:
        raise RuntimeError(f"{PAGE}: not exactly one place for {name}")
    return pattern.sub(lambda _: begin + content + end, page)


def main() -> None:
    page = PAGE.read_text("utf-8")
    os.environ.pop("EQUIGRID_RAW_DIR", None)  # the tables are what the records say
    for name in sys.argv[1:] or names():
        page = replaced(page, name, table(name))
        print(f"{name}: made anew")
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
