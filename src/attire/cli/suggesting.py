"""The verb that says what to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
from cyclopts import Parameter

from attire.cli.app import app, console, drop_unset, facts, table
from attire.cli.training import FIELDS
from attire.config import load_recipe
from attire.taxonomy import CATEGORY


@app.command
def suggest(
    catalog: Path,
    /,
    *,
    bundle: Path | None = None,
    n: int = 200,
    out: Path | None = None,
    backbone: Annotated[str | None, Parameter(help=FIELDS["backbone"])] = None,
    size_px: Annotated[tuple[int, int] | None, Parameter(help=FIELDS["size_px"])] = None,
    weights: str | None = None,
    workers: int | None = None,
) -> None:
    """Choose the products to label next, and those of their fields whose labels would teach a model most.

    Only products of the train split are chosen. They are the queue "Most useful" of `attire review`.

    Parameters
    ----------
    bundle
        The present model, which fields in doubt are chosen by. Without one, products that are typical of many others
        are chosen, on embeddings by a pretrained backbone.
    n
        How many products.
    out
        CSV file with the products to fill in, for `attire ingest --update`. Its column "ask" names the fields to fill.
    weights
        Without a bundle: safetensors file with the backbone's pretrained weights, as in `attire train`.
    workers
        Processes that prepare photos.
    """
    from attire.acquisition.suggest import suggest as run

    recipe = load_recipe("frozen", drop_unset({"backbone": backbone, "size_px": size_px}))
    suggested = run(catalog, bundle, n=n, out=out, recipe=recipe, weights=weights, workers=workers)
    console.print(facts({"products": f"{suggested.products:,}", "fields": f"{len(suggested.table):,}"}))
    by_key = suggested.table.group_by(pl.col("key").replace(CATEGORY, "category")).len("fields")
    console.print(table(by_key.sort("fields", "key", descending=[True, False]).head(10)))
    if suggested.left_out:
        console.print(
            f"{suggested.left_out:,} products are left out of {out}, because a spreadsheet would run their id as a "
            "formula: label them with attire review."
        )
    if suggested.sheet is not None:
        console.print(f"{suggested.sheet}  (fill in the blank cells that the column ask names, then:)")
        console.print(suggested.command, soft_wrap=True, highlight=False)
