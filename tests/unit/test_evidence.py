from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.synthetic_evidence import TAXONOMY, synthetic_evidence

from attire.errors import ReportError
from attire.evaluation.evidence import PAIR, Evidence
from attire.score.metrics import headline


def write(evidence: Evidence, folder: Path) -> None:
    (folder / "taxonomy.toml").write_text(evidence.taxonomy.to_toml())
    evidence.products().write_parquet(folder / "products.parquet")
    evidence.pairs().write_parquet(folder / "pairs.parquet")


@pytest.mark.parametrize("calibrated", [True, False])
def test_every_figure_can_be_recomputed_from_the_files(tmp_path: Path, calibrated: bool) -> None:
    evidence = synthetic_evidence(calibrated=calibrated)
    category = np.where(np.arange(120) < 3, -1, evidence.decisions.category)
    evidence = Evidence(**{**vars(evidence), "decisions": evidence.decisions._replace(category=category)})
    write(evidence, tmp_path)
    again = Evidence.load(tmp_path)
    assert (again.ids, again.groups, again.taxonomy) == (evidence.ids, evidence.groups, evidence.taxonomy)
    assert (again.accepted is None) == (not calibrated)
    assert headline(again.matches) == pytest.approx(headline(evidence.matches), nan_ok=True, abs=0)
    for name in ("category", "hot", "state"):
        np.testing.assert_array_equal(getattr(again.truth, name), getattr(evidence.truth, name))
    for name in ("category", "category_probability", "chosen", "applies"):
        np.testing.assert_array_equal(getattr(again.decisions, name), getattr(evidence.decisions, name))


def test_pairs_can_be_read_by_people() -> None:
    evidence = synthetic_evidence()
    pairs = evidence.pairs()
    assert dict(pairs.schema) == PAIR
    known = pairs.filter(pl.col("iou").is_not_null())
    assert len(known) == evidence.matches.known.sum()
    assert known["iou"].mean() == pytest.approx(headline(evidence.matches)["attribute_iou"])
    assert (known["stated"].list.len() > 0).all()
    row = pairs.filter(key="colour").row(0, named=True)
    position = evidence.ids.index(row["id"])
    assert row["chosen"] == [
        value
        for value in TAXONOMY.keys["colour"].values
        if evidence.decisions.chosen[position, TAXONOMY.column_index["colour", value]]
    ]
    assert len(row["probability"]) == 3


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"has no taxonomy.toml: expected a directory"):
        Evidence.load(tmp_path)
    write(synthetic_evidence(), tmp_path)
    (tmp_path / "pairs.parquet").write_bytes(b"nothing")
    with pytest.raises(ReportError, match="damaged"):
        Evidence.load(tmp_path)
