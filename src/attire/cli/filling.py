"""The verb for feeds with blanks: fill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from cyclopts import Parameter

from attire.cli.app import DEFAULTS, WANTED, Options, Wanted, app, console, table

SHOWN = 10  # reasons that are listed


@app.command
def fill(
    bundle: Path,
    feed: str,
    /,
    *,
    out: Path,
    images: list[str] = [],  # noqa: B006
    language: str = "",
    taxonomy: Path | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    overwrite_suspects: Annotated[bool, Parameter(negative="")] = False,
    thumbnails: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    source: str = "table",
    shop: Annotated[Literal["shopify", "google"] | None, Parameter(name="--as")] = None,
    mapping: Path | None = None,
    wanted: Wanted = WANTED,
    options: Options = DEFAULTS,
) -> None:
    """Fill the blank cells of a feed with answers that are sure enough, and leave all other cells as they are.

    The category in the feed decides which keys apply. A blank category is filled if it is sure enough.

    Parameters
    ----------
    feed
        CSV, TSV, JSON Lines, Parquet or Excel (.xlsx) file with a column per key, or with one of JSON (--attributes).
    out
        The filled feed, with the suffix of the feed. The report with a row per blank is written next to it
        (.fill.csv), and into an .xlsx as the sheet 'attire'. An interrupted run resumes when it is called again.
    images
        Folders, archives and URLs (s3://bucket/photos) with the feed's photos.
    language
        Write values with their titles in this language, such as de, where the taxonomy has them.
    taxonomy
        taxonomy.toml or catalog with titles, aliases and parents that the bundle lacks.
    engine
        torch, or an exported engine: onnx, onnx-int8, openvino, openvino-int8. auto takes the fastest here.
    overwrite_suspects
        Also replace stated values that a sure answer contradicts.
    thumbnails
        Show the photo of each product in the sheet 'attire' of an .xlsx, up to 5,000 products.
    overwrite
        Replace an existing output.
    source
        Format of the feed: table, or shopify for Shopify's product export.
    shop
        Write a file that a shop imports instead of the feed: shopify (CSV) or google (TSV for Merchant Center), with
        what the feed states and what is sure enough.
    mapping
        For --as, the mapping.toml that attire taxonomy map has drafted.
    """
    from attire.evaluation.drift_tables import drift_sentences
    from attire.filling.fill import fill as run

    summary = run(
        bundle,
        feed,
        out,
        images=images,
        options=options,
        precision=wanted.promise,
        language=language,
        taxonomy=taxonomy,
        engine=engine,
        batch_size=batch_size,
        overwrite_suspects=overwrite_suspects,
        thumbnails=thumbnails,
        overwrite=overwrite,
        source=source,
        shop=shop,
        mapping=mapping,
    )
    counts = pl.DataFrame(summary.keys)
    counts = counts if overwrite_suspects else counts.drop("replaced")
    console.print(table(counts.rename({name: name.replace("_", " ") for name in counts.columns})))
    if summary.without_column:
        console.print(f"The feed has no column for {', '.join(summary.without_column)}.")
    if summary.unread:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in [*summary.unread.items()][:5])
        console.print(f"{sum(summary.unread.values()):,} rows without a readable photo are unchanged: {reasons}")
    _print_counts("Not mapped", summary.unmapped)
    _print_counts("Not written", summary.left_out)
    if summary.drift is not None:
        for sentence in drift_sentences(summary.drift):
            console.print(sentence)
    console.print(f"{summary.out}  (report: {summary.report})")


def _print_counts(what: str, counts: Mapping[str, int]) -> None:
    """The most frequent reasons, with the number of products."""
    if counts:
        first = "; ".join(f"{reason} ({count:,})" for reason, count in [*counts.items()][:SHOWN])
        others = f"; and {len(counts) - SHOWN:,} more" if len(counts) > SHOWN else ""
        console.print(f"{what} (products): {first}{others}")
