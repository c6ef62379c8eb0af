"""Write a report: `report.html`, `scores.json`, `per_key.csv`, `per_category.csv`, and the evidence."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from attire.bundle import ModelBundle
from attire.evaluation.evidence import PAIRS, PRODUCTS, TAXONOMY, Evidence
from attire.evaluation.report import SCORES, Report
from attire.evaluation.report_page import page as report_page
from attire.files import replace_bytes
from attire.neighbours.labelled_photos import LabelledPhotos
from attire.spreadsheets import safe_table

PAGE = "report.html"


def write_report(
    report: Report,
    evidence: Evidence,
    photos: Sequence[Sequence[Path]],
    out: Path,
    bundle: ModelBundle | None = None,
    labelled: LabelledPhotos | None = None,
    *,
    page: bool = True,
) -> None:
    """Write the files into `out`, each atomically, `scores.json` last. What is not named here is as for `report_page`.

    Without `page`, `report.html` is not written, and one that is there is removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (SCORES, PAGE):
        (out / name).unlink(missing_ok=True)
    content = {
        "per_key.csv": _csv([{name: getattr(row, name) for name in report.key_fields} for row in report.keys]),
        "per_category.csv": _csv([row.model_dump() for row in report.categories]),
        TAXONOMY: evidence.taxonomy.to_toml().encode(),
        PRODUCTS: _parquet(evidence.products()),
        PAIRS: _parquet(evidence.pairs()),
        **({PAGE: report_page(report, evidence, photos, bundle, labelled).encode()} if page else {}),
        SCORES: report.model_dump_json(indent=1).encode(),
    }
    for name, data in content.items():
        replace_bytes(out / name, data)


def _csv(rows: list[dict[str, object]]) -> bytes:
    return safe_table(pl.DataFrame(rows).fill_nan(None)).write_csv().encode() if rows else b""


def _parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()
