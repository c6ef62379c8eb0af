"""The original project's four scripts, in order, on a feed in its format."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import polars as pl
import pytest
from helpers.command_line import run
from helpers.drawn_feed import draw_feed

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str, *arguments: object) -> str:
    """Run a script in this process; returns what it prints."""
    path = str(SCRIPTS / f"{name}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [path, *map(str, arguments)])
        ended = run(lambda: runpy.run_path(path, run_name="__main__"))
    assert ended.status == 0, ended.err[-3000:]
    return ended.out


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
def test_the_four_scripts(tmp_path: Path) -> None:
    feed = pl.read_csv(draw_feed(tmp_path, products=40), infer_schema=False)
    contest = pl.DataFrame(
        {
            "": range(len(feed)),
            "category": feed["category"],
            "id": feed["id"],
            "filename": feed["image"].str.split("|").list.first(),
            "attributes": [
                str({"vertical": [category], **({"colour": [colour]} if colour else {})})
                for category, colour in feed.select("category", "colour").iter_rows()
            ],
        }
    )
    contest.write_csv(tmp_path / "val_data.csv")
    out, small = tmp_path / "run", ("--epochs", 1, "--batch-size", 16, "--backbone", "test_resnet")
    script("train", tmp_path / "val_data.csv", tmp_path / "photos", "--out", out, *small, "--weights", "none")
    assert "category accuracy" in script("test", out)
    script("train_att", out, *small, "--threshold", 0.7)
    assert "attribute IoU" in script("test_att", out, "--threshold", 0.01)
    assert {path.name for path in out.glob("report-*")} == {"report-category", "report-attributes"}
