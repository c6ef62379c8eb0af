"""Engines on the command line: export one, inspect the bundle, and predict with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
from test_cli import attire, stdout_of

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.evaluation.report import Report


def test_an_engine_is_exported_shown_and_used(untrained: ModelBundle, catalog: Catalog, tmp_path: Path) -> None:
    shutil.copytree(untrained.path, tmp_path / "bundle")
    output = stdout_of("export", "bundle", "--to", "onnx", "--photos", catalog.path, cwd=tmp_path)
    assert "100.00%" in output
    assert "times as fast" in output
    output = stdout_of("inspect", "bundle", "--no-speed", cwd=tmp_path)
    for word in ("resnet10t", "multiply-adds", "3 categories, 2 keys", "onnx", "100.00%"):
        assert word in output
    for engine in ("torch", "onnx", "auto"):
        stdout_of("predict", "bundle", catalog.path, "--engine", engine, "--out", f"{engine}.csv", cwd=tmp_path)
    by_torch, by_onnx = (pl.read_csv(tmp_path / f"{name}.csv")["category_confidence"] for name in ("torch", "onnx"))
    np.testing.assert_allclose(by_onnx, by_torch, atol=0.02)
    assert len(pl.read_csv(tmp_path / "auto.csv")) == 90
    stdout_of("evaluate", "bundle", catalog.path, "--split", "all", "--engine", "onnx", "--out", "report", cwd=tmp_path)
    assert Report.load(tmp_path / "report").provenance.engine == "onnx"
    refused = attire("predict", "bundle", catalog.path, "--engine", "openvino", "--out", "x.csv", cwd=tmp_path)
    assert refused.returncode == 2
    assert "has no engine 'openvino' (exported: onnx)" in " ".join(refused.stderr.split())
