"""Predictions as tables: `wide` has a row per product, `long` a row per (product, key) with alternatives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.errors import ConfigError, did_you_mean
from attire.inference.product_logits import LogitsTable
from attire.score.decisions import ALTERNATIVES, UNSURE, Accepted, Decisions, confidence
from attire.spreadsheets import safe_table
from attire.taxonomy import SEPARATOR, Taxonomy

Format = Literal["wide", "long"]
ROW = "__row"  # temporary column: the product's position
GROUP = 20_000  # rows of a Parquet row group
PRODUCT: dict[str, Any] = {
    "id": pl.String,
    "category": pl.String,  # null if it is left open
    "category_confidence": pl.Float32,
}
LONG: dict[str, Any] = {  # one row for each (product, key)
    **PRODUCT,
    "category_alternatives": pl.String,  # JSON, as below
    "key": pl.String,
    "values": pl.String,
    "confidence": pl.Float32,
    "alternatives": pl.String,  # JSON: [{"value": ..., "confidence": ...}]
    "reason": pl.String,  # why `values` is empty
}
ALTERNATIVE = pl.Struct({"value": pl.String, "confidence": pl.Float64})  # an item of the JSON in `alternatives`
NOT_APPLICABLE = "not applicable"  # reason
SINKS: dict[str, Callable[[pl.LazyFrame, Path], None]] = {
    ".csv": lambda rows, path: safe_table(rows).sink_csv(path.absolute(), float_precision=4),
    ".jsonl": lambda rows, path: rows.sink_ndjson(path.absolute()),
    ".parquet": lambda rows, path: rows.sink_parquet(path.absolute(), row_group_size=GROUP),
}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The logits of N products and the decisions on the M of them that have logits.

    accepted: the answers that are sure enough to be filled. `decisions` have the coarser values among them already.
    """

    logits: LogitsTable
    decisions: Decisions
    accepted: Accepted


def check_output(out: Path, format: Format, taxonomy: Taxonomy, sources: Iterable[str | Path]) -> None:
    """Raise `ConfigError` if `out` could not be written, before anything is computed."""
    if out.suffix.lower() not in SINKS:
        raise ConfigError(
            f"{out}: '{out.suffix}' is not a supported suffix{did_you_mean(out.suffix, SINKS)} "
            f"Expected one of {', '.join(SINKS)}."
        )
    if out.is_dir():
        raise ConfigError(f"{out} is a directory. Expected a file to write.")
    if out.exists() and any(Path(source).exists() and out.samefile(source) for source in sources):
        raise ConfigError(f"{out} is also an input: choose another --out.")
    others = {*PRODUCT, "error", *map(confidence_column, taxonomy.keys)}
    if format == "wide" and (taken := others & taxonomy.keys.keys()):
        raise ConfigError(f"the key '{min(taken)}' has the name of a column of the wide format: use --format long.")


def confidence_column(key: str) -> str:
    """The column of the wide format with the confidences of a key."""
    return f"{key}__confidence"


def to_table(outcomes: Outcomes, taxonomy: Taxonomy, format: Format) -> pl.DataFrame:
    """The outcomes as a table, built by columns because a Python object per answer would be slow."""
    logits, decisions, answered = outcomes.logits, outcomes.decisions, outcomes.logits.answered
    products = pl.DataFrame(
        {
            ROW: answered,
            "id": [logits.ids[row] for row in answered],
            "category": [
                taxonomy.categories[category] if filled else None
                for category, filled in zip(decisions.category.tolist(), outcomes.accepted.category, strict=True)
            ],
            "category_confidence": np.where(
                outcomes.accepted.category,
                decisions.category_probability[np.arange(len(answered)), decisions.category],
                np.float32(np.nan),
            ),
        },
        schema={ROW: pl.Int64, **PRODUCT},
        nan_to_null=True,
    )
    unread = sorted(set(range(len(logits.ids))) - set(answered.tolist()))
    unread_columns = {ROW: unread, "id": [logits.ids[row] for row in unread]}
    if format == "wide":
        errors = [("; ".join(logits.faults[row]) or None) for row in answered]
        table = _wide(products, outcomes, taxonomy).with_columns(pl.Series("error", errors, pl.String))
        unread_columns["error"] = ["; ".join(logits.faults[row]) or None for row in unread]
    else:
        table = _long(products, outcomes, taxonomy)
        unread_columns["reason"] = [f"unreadable: {'; '.join(logits.faults[row])}" for row in unread]
    unread_rows = pl.DataFrame(unread_columns, schema_overrides={name: table.schema[name] for name in unread_columns})
    return pl.concat([table, unread_rows], how="diagonal").sort(ROW, maintain_order=True).drop(ROW)


def _filled_values(outcomes: Outcomes, taxonomy: Taxonomy) -> tuple[list[list[str | None]], NDArray[np.float32]]:
    """For each key the joined values of M products, and their confidences float32[M, A]; None and nan if not filled."""
    decisions = outcomes.decisions
    filled = outcomes.accepted.keys & decisions.applies
    texts: list[list[str | None]] = [[None] * len(outcomes.logits.answered) for _ in taxonomy.keys]
    values = [value for key in taxonomy.keys.values() for value in key.values]
    keys = taxonomy.key_of_column.tolist()
    rows, columns = np.nonzero(decisions.chosen & filled[:, taxonomy.key_of_column])
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        text = texts[keys[column]]
        text[row] = values[column] if text[row] is None else f"{text[row]}{SEPARATOR}{values[column]}"
    return texts, np.where(filled, confidence(taxonomy, decisions), np.float32(np.nan))


def _wide(products: pl.DataFrame, outcomes: Outcomes, taxonomy: Taxonomy) -> pl.DataFrame:
    texts, confidences = _filled_values(outcomes, taxonomy)
    columns = []
    for number, (key, text) in enumerate(zip(taxonomy.keys, texts, strict=True)):
        columns.append(pl.Series(key, text, pl.String))
        columns.append(pl.Series(confidence_column(key), confidences[:, number], pl.Float32, nan_to_null=True))
    return products.with_columns(columns)


def _long(products: pl.DataFrame, outcomes: Outcomes, taxonomy: Taxonomy) -> pl.DataFrame:
    texts, confidences = _filled_values(outcomes, taxonomy)
    applies, accepted = outcomes.decisions.applies, outcomes.accepted.keys
    products = products.with_columns(category_alternatives=pl.Series(_category_alternatives(outcomes, taxonomy)))
    tables = []
    for number, (key, text) in enumerate(zip(taxonomy.keys, texts, strict=True)):
        states = zip(applies[:, number].tolist(), accepted[:, number].tolist(), strict=True)
        reasons = [
            None if applicable and filled else f"abstained: {UNSURE}" if applicable else NOT_APPLICABLE
            for applicable, filled in states
        ]
        columns = {
            "key": pl.Series([key] * len(products), dtype=pl.String),
            "values": pl.Series(text, dtype=pl.String),
            "confidence": pl.Series(confidences[:, number], dtype=pl.Float32, nan_to_null=True),
            "alternatives": pl.Series(_alternatives(outcomes, taxonomy, key, number), dtype=pl.String),
            "reason": pl.Series(reasons, dtype=pl.String),
        }
        tables.append(products.with_columns(**columns))
    return pl.concat(
        tables
        or [
            products.clear().with_columns(
                pl.lit(None, type).alias(n) for n, type in LONG.items() if n not in products.columns
            )
        ]
    )


def _category_alternatives(outcomes: Outcomes, taxonomy: Taxonomy) -> list[str]:
    """For each of M products, the likeliest categories that were not filled, as JSON."""
    scores = outcomes.decisions.category_probability.copy()
    filled = np.flatnonzero(outcomes.accepted.category)
    scores[filled, outcomes.decisions.category[filled]] = -1
    return _best_words([json.dumps(category) for category in taxonomy.categories], scores)


def _alternatives(outcomes: Outcomes, taxonomy: Taxonomy, key: str, number: int) -> list[str | None]:
    """For each of M products, the likeliest values that were not filled, as JSON; None if the key does not apply."""
    columns = taxonomy.columns[key]
    texts: list[str | None] = [None] * len(outcomes.logits.answered)
    rows = np.flatnonzero(outcomes.decisions.applies[:, number])
    answer = outcomes.decisions.chosen[rows, columns] & outcomes.accepted.keys[rows, number, None]
    scores = np.where(answer, np.float32(-1), outcomes.decisions.probability[rows, columns])
    best = _best_words([json.dumps(value) for value in taxonomy.keys[key].values], scores)
    for row, text in zip(rows.tolist(), best, strict=True):
        texts[row] = text
    return texts


def _best_words(words: list[str], scores: NDArray[np.float32]) -> list[str]:
    """The words (as JSON) with the highest `scores`, float32[N, words], as JSON; negative ones are left out."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :ALTERNATIVES]
    best = np.take_along_axis(scores, order, axis=1)
    texts = []
    for names, chances in zip(order.tolist(), best.tolist(), strict=True):
        others = (
            f'{{"value": {words[n]}, "confidence": {chance!r}}}'
            for n, chance in zip(names, chances, strict=True)
            if chance >= 0
        )
        texts.append(f"[{', '.join(others)}]")
    return texts
