"""The command line: all verbs in order, and what a process of it prints and returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from helpers.command_line import attire, stdout_of
from helpers.drawn_feed import draw_feed
from PIL import Image

TINY = [
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--size-px",
    "32",
    "24",
    "--batch-size",
    "16",
    "--workers",
    "0",
]


def process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from attire.cli import main; main()", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_all_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_feed(tmp_path, products=80)
    assert "80" in stdout_of("ingest", "feed.csv", "--images", "photos", "--out", "catalog")
    assert "train" in stdout_of("split", "catalog", "--val", "0.3", "--seed", "7")
    trained = stdout_of("train", "catalog", "--out", "run", "--epochs", "1", *TINY)
    assert "attribute iou" in trained
    evaluated = stdout_of("evaluate", "run/bundle", "catalog", "--out", "report")
    assert "mode in true category" in evaluated
    assert {p.name for p in (tmp_path / "report").iterdir()} >= {"report.html", "scores.json", "per_key.csv"}
    stdout_of("evaluate", "run/bundle", "catalog", "--split", "train", "--out", "other")
    assert "A in 0 beyond chance" in stdout_of("compare", "report", "report", "--out", "differences.html")
    assert "+0.000 to +0.000" in (tmp_path / "differences.html").read_text()
    refused = attire("compare", "report", "other")
    assert refused.status == 2
    assert "different splits" in refused.err
    stdout_of("predict", "run/bundle", "photos", "--out", "photos.csv")
    stdout_of("predict", "run/bundle", "feed.csv", "--images", "photos", "--out", "feed.parquet")
    filled = stdout_of("fill", "run/bundle", "feed.csv", "--images", "photos", "--out", "filled.csv")
    assert "suspected" in filled
    before, after = ((tmp_path / name).read_text().splitlines() for name in ("feed.csv", "filled.csv"))
    assert len(after) == len(before)
    assert (tmp_path / "filled.fill.csv").is_file()
    refused = attire("fill", "run/bundle", "feed.csv", "--images", "photos", "--out", "feed.csv")
    assert refused.status == 2
    assert "feed.csv is also an input, which is never changed" in refused.err
    stdout_of("predict", "run/bundle", "catalog", "--split", "val", "--format", "long", "--out", "val.jsonl")
    again = process("predict", "run/bundle", "photos", "--out", "photos.csv", cwd=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "by an earlier run" in again.stdout
    for options in (["--format", "long"], ["--precision", "0.9"]):
        refused = attire("predict", "run/bundle", "photos", *options, "--out", "photos.csv")
        assert refused.status == 2
        assert "Replace it with --overwrite" in refused.err
    (tmp_path / "week.csv").write_text("".join((tmp_path / "feed.csv").read_text().splitlines(keepends=True)[:30]))
    refused = attire("ingest", "week.csv", "--images", "photos", "--out", "catalog")
    assert refused.status == 2
    assert "week.csv lacks 51 of the 80 products" in refused.err
    updated = attire("ingest", "week.csv", "--images", "photos", "--out", "copy", "--update")
    assert updated.status == 0, updated.err
    updated = attire("ingest", "feed.csv", "--images", "photos", "--out", "copy", "--update")
    assert "51 added, 0 changed, 29 unchanged, 0 gone" in " ".join(updated.err.split())
    assert "week.csv" in stdout_of("history", "copy")
    assert "products added  51 (" in stdout_of("history", "copy", "--diff", 1, 2)
    assert len(pl.read_csv(tmp_path / "photos.csv")) == len(list((tmp_path / "photos").iterdir()))
    assert len(pl.read_parquet(tmp_path / "feed.parquet")) == 80
    assert "products  3" in stdout_of("suggest", "catalog", "--bundle", "run/bundle", "--n", 3, "--out", "ask.csv")
    assert len(pl.read_csv(tmp_path / "ask.csv")) == 3
    message = attire("evaluate", "run/bundle", "catalog", "--inputs", "both", "--out", "report").err
    assert "reads photos only" in message
    stdout_of("predict", "run/bundle", "feed.csv", "--images", "photos", "--known-category", "--out", "k.csv")
    feed, predictions = (pl.read_csv(tmp_path / name).sort("id") for name in ("feed.csv", "k.csv"))
    assert predictions["category"].to_list() == feed["category"].to_list()
    pytest.importorskip("torchcam", reason="needs the extra 'explain'")
    photo = sorted((tmp_path / "photos").iterdir())[0]
    assert "colour" in stdout_of("explain", "run/bundle", photo, "--key", "colour", "--out", "heat.png")
    with Image.open(tmp_path / "heat.png") as heat:
        assert min(heat.size) > 32
    # Options can be set in attire.toml.
    (tmp_path / "attire.toml").write_text("[split]\nval = 0.5\nseed = 3\n")
    refused = attire("split", "catalog")
    assert refused.status == 2
    assert "was split with --seed 7" in refused.err
    assert "val 40" in stdout_of("split", "catalog", "--anew")
    assert "kept their split 80  new 0  gone 0" in stdout_of("split", "catalog")


def test_an_error_prints_no_traceback(tmp_path: Path) -> None:
    ended = process("predict", "nowhere", ".", "--out", "x.csv", cwd=tmp_path)
    assert ended.returncode == 2
    assert "not a model bundle" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
