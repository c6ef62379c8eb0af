"""Engines on the command line: export one, inspect the bundle, and predict with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.command_line import attire, stdout_of

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.evaluation.report import Report


def test_an_engine_is_exported_shown_and_used(
    untrained: ModelBundle, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(untrained.path, tmp_path / "bundle")
    output = stdout_of("export", "bundle", "--to", "onnx", "--photos", catalog.path)
    assert "100.00%" in output
    assert "times as fast" in output
    output = stdout_of("inspect", "bundle", "--no-speed")
    for word in ("test_resnet", "multiply-adds", "3 categories, 2 keys", "onnx", "100.00%"):
        assert word in output
    for engine in ("torch", "onnx", "auto"):
        stdout_of("predict", "bundle", catalog.path, "--engine", engine, "--out", f"{engine}.csv")
    by_torch, by_onnx = (pl.read_csv(tmp_path / f"{name}.csv")["category_confidence"] for name in ("torch", "onnx"))
    np.testing.assert_allclose(by_onnx, by_torch, atol=0.02)
    assert len(pl.read_csv(tmp_path / "auto.csv")) == 90
    stdout_of("evaluate", "bundle", catalog.path, "--split", "all", "--engine", "onnx", "--out", "report")
    assert Report.load(tmp_path / "report").provenance.engine == "onnx"
    refused = attire("predict", "bundle", catalog.path, "--engine", "openvino", "--out", "x.csv")
    assert refused.status == 2
    assert "has no engine 'openvino' (exported: onnx)" in " ".join(refused.err.split())
