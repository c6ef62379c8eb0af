"""The verb for feeds with blanks: fill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
from cyclopts import Parameter

from attire.cli.app import DEFAULTS, Options, app, console, table


@app.command
def fill(
    bundle: Path,
    feed: str,
    /,
    *,
    out: Path,
    images: list[str] = [],  # noqa: B006
    precision: float = 0.95,
    engine: str = "auto",
    batch_size: int = 32,
    overwrite_suspects: Annotated[bool, Parameter(negative="")] = False,
    thumbnails: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULTS,
) -> None:
    """Fill the blank cells of a feed with answers that are sure enough, and leave all other cells as they are.

    The category in the feed decides which keys apply. A blank category is filled if its confidence is at least 0.9.

    Parameters
    ----------
    feed
        CSV, TSV, JSON Lines, Parquet or Excel (.xlsx) file with a column per key, or with one of JSON (--attributes).
    out
        The filled feed, with the suffix of the feed. The report with a row per blank is written next to it
        (.fill.csv), and into an .xlsx as the sheet 'attire'. An interrupted run resumes when it is called again.
    images
        Folders, archives and URLs (s3://bucket/photos) with the feed's photos.
    precision
        Required precision of filled fields: 0.9, 0.95 or 0.99. Less certain fields are left open.
    engine
        torch, or an exported engine: onnx, onnx-int8, openvino, openvino-int8. auto takes the fastest of them.
    overwrite_suspects
        Also replace stated values that a sure answer contradicts.
    thumbnails
        Show the photo of each product in the sheet 'attire' of an .xlsx, up to 5,000 products.
    overwrite
        Replace an existing output.
    """
    from attire.filling.fill import fill as run

    summary = run(
        bundle,
        feed,
        out,
        images=images,
        options=options,
        precision=precision,
        engine=engine,
        batch_size=batch_size,
        overwrite_suspects=overwrite_suspects,
        thumbnails=thumbnails,
        overwrite=overwrite,
    )
    counts = pl.DataFrame(summary.keys)
    counts = counts if overwrite_suspects else counts.drop("replaced")
    console.print(table(counts.rename({name: name.replace("_", " ") for name in counts.columns})))
    if summary.without_column:
        console.print(f"The feed has no column for {', '.join(summary.without_column)}.")
    if summary.unread:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in [*summary.unread.items()][:5])
        console.print(f"{sum(summary.unread.values()):,} rows without a readable photo are unchanged: {reasons}")
    console.print(f"{summary.out}  (report: {summary.report})")
