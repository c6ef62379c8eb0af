"""What a model says of photos, and why; and everything at once on a drawn catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from attire.cli.app import DEFAULTS, Options, Paths, Sources, app, console, facts
from attire.taxonomy import CATEGORY


@app.command
def predict(
    bundle: Path,
    source: str,
    /,
    *,
    out: Path,
    images: Sources = [],  # noqa: B006
    split: str | None = None,
    format: Literal["wide", "long"] = "wide",
    precision: float = 0.95,
    fill: Literal["sure", "all"] = "sure",
    known_category: Annotated[bool, Parameter(negative="")] = False,
    engine: str = "auto",
    batch_size: int = 32,
    cluster: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    feed_source: str = "table",
    options: Options = DEFAULTS,
) -> None:
    """Predict category and attributes of every product in a folder of photos, a feed or a catalog.

    Parameters
    ----------
    source
        Photos, a product each: a folder, archive or WebDataset shards ('shard-{000..009}.tar', 'shards/*.tar');
        a feed (with --images, or with URLs of photos); or a catalog. All but a catalog may be s3:// or https://.
    out
        .parquet, .csv or .jsonl; a killed run goes on when it is called again, one that has finished does nothing. In
        a .csv, text that a spreadsheet would run as a formula starts with an apostrophe.
    images
        Folders, archives and URLs (s3://bucket/photos) that hold the feed's photos.
    split
        Part of a catalog: train, val or test.
    format
        wide: a row per product; long: a row per product and key, with alternatives and reasons.
    precision
        How often a filled field is to be right: 0.9, 0.95 or 0.99. Others stay empty, with alternatives in long format.
    fill
        all: fill every key that applies, however unsure.
    known_category
        The feed's (or catalog's) categories are right: ask the network only where they are empty.
    cluster
        Share the work on a Ray cluster: 'ray' (the one in RAY_ADDRESS, or this machine), or its address, ray://HOST:10001.
    engine
        torch, or what export made: onnx, onnx-int8, openvino, openvino-int8. auto takes the fastest of them.
    overwrite
        Compute and replace an output that exists, whatever made it.
    feed_source
        How to read the feed, as ingest's --source.
    """
    from attire.inference.bulk import predict as run

    summary = run(
        bundle,
        source,
        out,
        images=images,
        feed_source=feed_source,
        options=options,
        split=split,
        format=format,
        precision=precision if fill == "sure" else None,
        known_category=known_category,
        engine=engine,
        batch_size=batch_size,
        cluster=cluster,
        overwrite=overwrite,
    )
    resumed = f", {summary.resumed:,} of them by an earlier run" if summary.resumed else ""
    console.print(f"{summary.products:,} products{resumed}; {summary.unread:,} without a readable photo")
    console.print(f"{summary.out}")


@app.command
def explain(
    bundle: Path,
    photos: Paths,
    /,
    *,
    key: str | None = None,
    value: str | None = None,
    out: Path = Path("explained.png"),
) -> None:
    """Show where in a photo an answer comes from: the photo under a heat map of what spoke for it.

    Parameters
    ----------
    photos
        One or several; several come on one sheet.
    key
        The attribute key to explain; the category where none is given.
    value
        Explain this value instead of the likeliest one.
    out
        .png or another picture.
    """
    from attire.explanation.explain import Question, explanations
    from attire.explanation.picture import grid, save

    pictures = []
    for photo, found in zip(
        photos, explanations(bundle, [Question(photo, key or CATEGORY, value) for photo in photos]), strict=True
    ):
        console.print(f"{photo}: {found.title}{f' ({found.others})' if found.others else ''}", highlight=False)
        if found.warning:
            console.print(f"  {found.warning}", style="bold red", highlight=False)
        pictures.append(found.picture())
    save(grid(pictures), out)
    console.print(f"{out}")


@app.command
def demo(*, out: Path = Path("attire-demo"), products: int = 700, epochs: int = 24) -> None:
    """Draw a small synthetic catalog, run the whole job on it, and end with a report to open. Needs no network.

    Parameters
    ----------
    out
        Directory for everything. What an interrupted demo finished there is used again.
    products
        Garments to draw.
    epochs
        Over both stages of the training.
    """
    from attire.demo.run import run_demo
    from attire.evaluation.tables import sheets, verdict
    from attire.storage import storing

    with storing(out):
        made = run_demo(out, products=products, epochs=epochs, step=lambda text: console.rule(text, align="left"))
    console.rule("What came of it", align="left")
    console.print(sheets(made.scores)[0].table())
    console.print(verdict(made.scores))
    share = f" ({made.filled_right / made.filled:.0%})" if made.filled else ""
    console.print(
        f"Of {made.empty:,} fields that the feed left empty, {made.filled:,} were filled, {made.filled_right:,} rightly"
        f"{share}. {made.quarantined} bad photos were set aside."
    )
    made_files = ("feed", "catalog", "bundle", "predictions", "sheet", "report")
    console.print(facts({name: str(getattr(made, name)) for name in made_files}))
