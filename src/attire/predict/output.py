"""Predictions as rows: `wide` has one per product, `long` one per (product, key) with alternatives and reasons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import polars as pl

from attire.errors import ConfigError, did_you_mean
from attire.prediction import Answer, Prediction
from attire.taxonomy import SEPARATOR, Taxonomy

Format = Literal["wide", "long"]
Outcome = tuple[str, Prediction | None, tuple[str, ...]]  # id, prediction unless no photo was readable, faults
PRODUCT: dict[str, Any] = {"id": pl.String, "category": pl.String, "category_confidence": pl.Float32}
DETAIL: dict[str, Any] = {
    "key": pl.String,
    "values": pl.String,
    "confidence": pl.Float32,
    "alternatives": pl.String,  # JSON: [{"value": ..., "confidence": ...}]
    "reason": pl.String,  # why `values` is empty
}
SINKS: dict[str, Callable[[pl.LazyFrame, Path], None]] = {
    ".csv": lambda rows, path: rows.sink_csv(path, float_precision=4),
    ".jsonl": lambda rows, path: rows.sink_ndjson(path),
    ".parquet": lambda rows, path: rows.sink_parquet(path),
}


def check_output(out: Path, format: Format, taxonomy: Taxonomy) -> None:
    """Raise `ConfigError` before any work where the output could not be written in the end."""
    if out.suffix.lower() not in SINKS:
        raise ConfigError(
            f"{out}: '{out.suffix}' is not an output's suffix{did_you_mean(out.suffix, SINKS)} "
            f"Expected one of {', '.join(SINKS)}."
        )
    if format == "wide" and (taken := {*PRODUCT, "error"} & taxonomy.keys.keys()):
        raise ConfigError(f"the key '{min(taken)}' has the name of a column of the wide format: use --format long.")


def to_table(outcomes: Sequence[Outcome], taxonomy: Taxonomy, format: Format) -> pl.DataFrame:
    """The outcomes as a table of the format."""
    if format == "long":
        return pl.DataFrame([row for outcome in outcomes for row in _long(outcome, taxonomy)], schema=PRODUCT | DETAIL)
    columns = {
        column: type for key in taxonomy.keys for column, type in ((key, pl.String), (f"{key}__confidence", pl.Float32))
    }
    return pl.DataFrame([_wide(outcome) for outcome in outcomes], schema={**PRODUCT, **columns, "error": pl.String})


def _wide(outcome: Outcome) -> dict[str, Any]:
    id, prediction, faults = outcome
    row: dict[str, Any] = {"id": id, "error": "; ".join(faults) or None}
    if prediction is None:
        return row
    row |= {"category": prediction.category, "category_confidence": prediction.category_confidence}
    for key, answer in prediction.attributes.items():
        if isinstance(answer, Answer):
            row[key], row[f"{key}__confidence"] = SEPARATOR.join(answer.values), answer.confidence
    return row


def _long(outcome: Outcome, taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    id, prediction, faults = outcome
    if prediction is None:
        yield {"id": id, "reason": f"unreadable: {'; '.join(faults)}"}
        return
    product = {"id": id, "category": prediction.category, "category_confidence": prediction.category_confidence}
    for key in taxonomy.keys:
        answer = prediction.attributes.get(key)
        row = {**product, "key": key}
        if answer is None:
            row["reason"] = "not applicable"
        else:
            row["alternatives"] = json.dumps([asdict(alternative) for alternative in answer.alternatives])
            if isinstance(answer, Answer):
                row["values"], row["confidence"] = SEPARATOR.join(answer.values), answer.confidence
            else:
                row["reason"] = f"abstained: {answer.reason}"
        yield row
