"""Cells that a spreadsheet would run as formulas are escaped, and restored when read."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import polars as pl
import pytest
from helpers.drawn_feed import draw_feed

from attire.catalog.ingest import ingest
from attire.evaluation.report_files import _csv
from attire.inference.output import LONG, SINKS
from attire.review.data import ReviewData
from attire.spreadsheets import original_text, read_csv, safe_table, safe_text

FORMULAS = ['=HYPERLINK("http://x")', "+1+cmd|'/C calc'!A0", "-2+3", "@SUM(1)", "\t=1+1", " =1", "\r=1", "＝1+1", "'=1"]
HARMLESS = ["", "red", "-5", "+491234", "-1,234.5", "-1e-5", "-", "=", "'", "it's", "'tis", "a=b", "3-4", "\u00e9"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_become_text(text: str) -> None:
    assert safe_text(text) == f"'{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_unchanged(text: str) -> None:
    assert safe_text(text) == text


def test_every_text_is_restored() -> None:
    texts = {"".join(signs) for length in range(5) for signs in product("'=-1 \na", repeat=length)}
    cells = {safe_text(text) for text in texts}
    assert len(cells) == len(texts), "different texts give different cells"
    assert all(original_text(safe_text(text)) == text for text in texts)


def test_a_table_is_restored(tmp_path: Path) -> None:
    words = [*FORMULAS, *HARMLESS[1:]]
    rows = pl.DataFrame({"id": words, "=1+1": words[::-1], "share": [-0.5] * len(words)})
    path = tmp_path / "t[1].csv"
    safe_table(rows).write_csv(path)
    safe_table(rows.lazy()).sink_csv(tmp_path / "t1.csv")
    assert path.read_bytes() == (tmp_path / "t1.csv").read_bytes()
    raw = pl.read_csv(path, glob=False, infer_schema=False)
    assert raw.columns == ["id", "'=1+1", "share"]
    assert raw["id"].to_list() == [safe_text(word) for word in words]
    assert read_csv(path).equals(rows.with_columns(pl.col("share").cast(pl.String)))


def test_tables_of_a_report_run_no_formula() -> None:
    rows: list[dict[str, object]] = [{"key": "=1+1", "iou": -0.5}]
    assert _csv(rows) == b"key,iou\n'=1+1,-0.5\n"


def test_predictions_in_a_csv_are_restored_for_review(tmp_path: Path) -> None:
    feed = draw_feed(tmp_path, 3)
    feed.write_text(feed.read_text().replace("p000", "=1+1").replace("p001", "-1"))
    catalog = ingest(feed, tmp_path / "photos", tmp_path / "catalog")
    rows = {name: [None] * 3 for name in LONG} | {"id": catalog.ids, "category": ["Shirts"] * 3}
    rows |= {"key": ["tags"] * 3, "reason": ["not applicable"] * 3}
    table = pl.LazyFrame(rows, schema=LONG)
    fields = []
    for suffix in (".csv", ".parquet"):
        SINKS[suffix](table, tmp_path / f"p{suffix}")
        fields.append(ReviewData(catalog, tmp_path / f"p{suffix}").fields)
    assert fields[0].equals(fields[1])
    assert fields[0]["product"].to_list() == catalog.ids
