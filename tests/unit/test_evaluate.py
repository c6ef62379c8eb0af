"""From a bundle and a catalog of real files to a report's directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from bundles import save_bundle

from attire.bundle import ModelBundle
from attire.catalog.splits import RARE, Splits, balance
from attire.catalog.store import Catalog
from attire.config import Architecture
from attire.evaluation.compare import compare
from attire.evaluation.evaluate import evaluate
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import read_report
from attire.model.network import build_network
from attire.taxonomy import Taxonomy


def test_a_report_is_written_with_photos_split_and_evidence(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path
) -> None:
    report = evaluate(untrained, catalog, "val", out=tmp_path)
    assert read_report(tmp_path).model_dump_json() == report.model_dump_json()
    html = (tmp_path / "report.html").read_text()
    assert html.count('<img src="data:image/jpeg;base64,') > 5
    assert "no operating point" in html
    evidence = Evidence.read(tmp_path)
    assert evidence.ids == splits.val
    assert report.division is not None
    assert {part.part: part.products for part in report.division.parts} == {
        "train": len(splits.train),
        "val": len(splits.val),
    }
    common = balance(catalog, splits).filter(pl.col("count") >= RARE)
    largest = np.abs(common["deviation"].to_numpy()).max()
    assert abs(report.division.furthest[0].deviation) == pytest.approx(largest)
    assert max(found.largest for found in report.division.balance) == pytest.approx(largest)


def test_chosen_products_have_no_split_to_tell_of(catalog: Catalog, splits: Splits, untrained: ModelBundle) -> None:
    report = evaluate(untrained, catalog, splits.val[:10])
    assert report.division is None
    assert report.provenance.split == "10 chosen products"


def test_a_bundle_of_the_category_alone_has_a_report(catalog: Catalog, tmp_path: Path) -> None:
    words = Taxonomy(categories=catalog.taxonomy.categories)
    architecture = Architecture(backbone="resnet10t", hidden=8, shared=True)
    torch.manual_seed(0)
    bundle = save_bundle(tmp_path / "bundle", build_network(architecture, words), architecture, words)
    report = evaluate(bundle, catalog, "val", out=tmp_path / "report")
    assert report.keys == ()
    assert not np.isnan(report.figures["category_accuracy"].value)
    assert "answers the category alone" in (tmp_path / "report" / "report.html").read_text()
    found = compare(tmp_path / "report", tmp_path / "report")
    assert found.keys == {}
    assert found.figures["category_accuracy"].value == 0


def test_other_verbs_do_not_wait_for_charts() -> None:
    code = (
        "import sys, attire.cli, attire.evaluation.page; sys.exit(not {'altair', 'vl_convert'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
