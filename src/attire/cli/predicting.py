"""Verbs for answers: predict, explain and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from attire.cli.app import DEFAULTS, WANTED, Options, Wanted, app, console, facts
from attire.taxonomy import CATEGORY


@app.command
def predict(
    bundle: Path,
    source: str,
    /,
    *,
    out: Path,
    images: list[str] = [],  # noqa: B006
    split: str | None = None,
    format: Literal["wide", "long"] = "wide",
    fill: Literal["sure", "all"] = "sure",
    known_category: Annotated[bool, Parameter(negative="")] = False,
    engine: str = "auto",
    batch_size: int = 32,
    cluster: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    feed_source: str = "table",
    wanted: Wanted = WANTED,
    options: Options = DEFAULTS,
) -> None:
    """Predict category and attributes of every product in a folder of photos, a feed or a catalog.

    Parameters
    ----------
    source
        Photos, one product each: a folder, archive or WebDataset shards ('shard-{000..009}.tar', 'shards/*.tar');
        a feed (with --images, or with URLs of photos); or a catalog. All except a catalog may be s3:// or https://.
    out
        .parquet, .csv or .jsonl file. An interrupted run resumes when it is called again; a finished one does nothing.
        In a .csv, text that a spreadsheet would run as a formula gets a leading apostrophe.
    images
        Folders, archives and URLs (s3://bucket/photos) with the feed's photos.
    split
        Split of a catalog: train, val or test.
    format
        wide: a row per product; long: a row per product and key, with alternatives and reasons.
    fill
        all: fill every key that applies, at any confidence.
    known_category
        Use the categories of the feed or catalog; predict the category only where it is empty.
    cluster
        Run on a Ray cluster: 'ray' (the one in RAY_ADDRESS, or this machine) or its address, ray://HOST:10001.
    engine
        torch, or an exported engine: onnx, onnx-int8, openvino, openvino-int8. auto takes the fastest here.
    overwrite
        Compute again and replace an existing output.
    feed_source
        Format of the feed, as in ingest --source.
    """
    from attire.evaluation.drift_tables import drift_sentences
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
        precision=wanted.promise if fill == "sure" else None,
        known_category=known_category,
        engine=engine,
        batch_size=batch_size,
        cluster=cluster,
        overwrite=overwrite,
    )
    resumed = f", {summary.resumed:,} of them by an earlier run" if summary.resumed else ""
    console.print(f"{summary.products:,} products{resumed}; {summary.unread:,} without a readable photo")
    if summary.drift is not None:
        for sentence in drift_sentences(summary.drift):
            console.print(sentence)
    console.print(f"{summary.out}  (attire drift {bundle} {summary.out} --out drift.html)")


@app.command
def explain(
    bundle: Path,
    photos: list[Path],
    /,
    *,
    key: str | None = None,
    value: str | None = None,
    catalog: Path | None = None,
    out: Path = Path("explained.png"),
) -> None:
    """Show the evidence for an answer as a heat map on the photo.

    Parameters
    ----------
    photos
        One or more; several are put on one sheet.
    key
        The attribute key to explain; by default the category.
    value
        Explain this value instead of the likeliest one.
    catalog
        Also show the labelled photos of this catalog that are most similar, and what they state. Photos that the bundle
        has not looked at yet are embedded first (minutes for thousands, once).
    out
        Image file to write, such as .png.
    """
    from attire.explanation.explain import Question, explanations
    from attire.explanation.picture import grid, save

    pictures = []
    questions = [Question(photo, key or CATEGORY, value) for photo in photos]
    for photo, explanation in zip(photos, explanations(bundle, questions, catalog), strict=True):
        console.print(
            f"{photo}: {explanation.title}{f' ({explanation.others})' if explanation.others else ''}", highlight=False
        )
        if explanation.warning:
            console.print(f"  {explanation.warning}", style="bold red", highlight=False)
        if catalog is not None:
            console.print(f"  {explanation.opinion or 'No photo of the catalog has a label for it.'}", highlight=False)
        for seen in explanation.seen:
            console.print(f"  {seen.similarity:.2f} {seen.id}: {seen.stated}", highlight=False)
        pictures.append(explanation.picture())
    save(grid(pictures), out)
    console.print(f"{out}")


@app.command
def demo(*, out: Path = Path("attire-demo"), products: int = 700, epochs: int = 20) -> None:
    """Draw a small synthetic catalog, then ingest, train, evaluate, predict and fill. Needs no network.

    Parameters
    ----------
    out
        Output directory. Finished steps of an interrupted demo are reused.
    products
        Number of garments to draw.
    epochs
        Epochs of training.
    """
    from attire.demo.run import run_demo
    from attire.evaluation.tables import sheets, verdict
    from attire.storage import storing

    with storing(out):
        result = run_demo(out, products=products, epochs=epochs, step=lambda text: console.rule(text, align="left"))
    console.rule("Results", align="left")
    console.print(sheets(result.scores)[0].table())
    console.print(verdict(result.scores))
    share = f" ({result.filled_right / result.filled:.0%})" if result.filled else ""
    console.print(
        f"Of {result.empty:,} fields without a label, {result.filled:,} were filled, {result.filled_right:,} of them "
        f"right{share}. {result.quarantined} unusable photos were quarantined."
    )
    paths = ("feed", "catalog", "bundle", "predictions", "filled_feed", "sheet", "report")
    console.print(facts({name: str(getattr(result, name)) for name in paths}))
