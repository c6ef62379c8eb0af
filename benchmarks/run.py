"""Runs all speed benchmarks one after the other, and prints tables and writes one JSON file.

python benchmarks/run.py CATALOG BUNDLE [--out benchmarks.json] [--quick] [--only loading heads ...]

CATALOG is an ingested and split catalog, BUNDLE a model for it. Run nothing else on the machine meanwhile. It takes
about an hour on two cores. --quick takes a few minutes with small sizes, to check that the scripts work.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from support.common import machine, table

HERE = Path(__file__).parent
# For each script, its arguments and additional ones for --quick; {catalog} and {bundle} are filled in.
SCRIPTS: dict[str, tuple[list[str], list[str]]] = {
    "engines": ([], ["--backbone", "resnet18", "--size-px", "96", "96", "--rounds", "1"]),
    "bulk": (["{bundle}", "{catalog}/photos"], ["--sizes", "50", "100", "--rounds", "1"]),
    "colour": ([], ["--backbone", "resnet18", "--size-px", "64", "48", "--photos", "40", "--rounds", "1"]),
    "fill": (["{bundle}"], ["--sizes", "100", "200", "--formats", "csv"]),
    "loading": (["{catalog}"], ["--generate", "30", "--photos", "100", "--rounds", "1"]),
    "heads": ([], ["--rounds", "1"]),
    "training": ([], ["--backbone", "resnet18", "--size", "96", "--batch", "8", "--steps", "2", "--rounds", "1"]),
    "growth": ([], ["--photos", "40", "80", "--rounds", "1"]),
}


def main(
    catalog: Path,
    bundle: Path,
    /,
    *,
    out: Path = Path("benchmarks.json"),
    quick: bool = False,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
) -> None:
    """Run the scripts in --only, by default all; failed ones are listed at the end."""
    results: dict[str, Any] = {}
    failed = []
    for name in only or SCRIPTS:
        arguments, quick_arguments = SCRIPTS[name]
        filled = [argument.format(catalog=catalog, bundle=bundle) for argument in arguments]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.json"
            command = [
                sys.executable,
                str(HERE / f"{name}.py"),
                *filled,
                *(quick_arguments if quick else []),
                "--json",
                str(file),
            ]
            if subprocess.run(command, check=False).returncode or not file.is_file():
                failed.append(name)
            else:
                results[name] = json.loads(file.read_text(encoding="utf-8"))
                out.write_text(json.dumps({"machine": machine(), "benchmarks": results}, indent=1), encoding="utf-8")
    for result in results.values():
        Console().print(table(result["title"], result["rows"]))
    Console().print(f"{out}" if results else "nothing was measured")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    cyclopts.run(main)
