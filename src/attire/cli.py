"""The command line: each verb parses its options, calls one function, and prints what came of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from cyclopts import App, Parameter
from cyclopts.config import Toml
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from attire.catalog.sources import SourceOptions
from attire.errors import AttireError

app = App(
    name="attire",
    help="Product photos in, catalog attributes out, with a confidence a team can act on.\n\n"
    "Options may also stand in ./attire.toml, in a table named after the verb; flags win.",
    config=Toml("attire.toml"),
)
Paths = Annotated[list[Path], Parameter(consume_multiple=True, negative="")]
Options = Annotated[SourceOptions, Parameter(name="*", negative="")]
DEFAULTS = SourceOptions()
console = Console()


@app.command
def ingest(
    feed: Path,
    /,
    *,
    images: Paths,
    out: Path,
    source: str = "table",
    taxonomy: Path | None = None,
    bad_rows: Literal["refuse", "quarantine"] = "refuse",
    options: Options = DEFAULTS,
) -> None:
    """Read a feed and its photos into a catalog; drafts taxonomy.toml unless one is given.

    Parameters
    ----------
    feed
        CSV, TSV, JSON Lines or Parquet; or what --source reads.
    images
        Folders, tar and zip archives that hold the photos.
    out
        The catalog's directory. Running again opens only what is new.
    source
        table, flipkart, myntra or imagefolder.
    taxonomy
        taxonomy.toml to check every word against.
    bad_rows
        What to do with rows that have a problem.
    """
    from attire.catalog.ingest import ingest as run

    catalog = run(feed, images, out, source=source, taxonomy=taxonomy, options=options, bad_rows=bad_rows)
    grid = _grid()
    grid.add_row("products", f"{len(catalog):,} in {catalog.products['group'].n_unique():,} groups")
    grid.add_row("photos", f"{len(catalog.photos):,}")
    words = catalog.taxonomy
    grid.add_row("taxonomy", f"{len(words.categories)} categories, {len(words.keys)} keys, {words.width} values")
    grid.add_row("labels", f"{len(catalog.labels):,}")
    grid.add_row("without category", f"{catalog.products['category'].null_count():,}")
    grid.add_row("quarantined", f"{len(catalog.quarantine):,}")
    console.print(grid)
    if len(catalog.quarantine):
        kinds = catalog.quarantine.with_columns(pl.col("reason").str.replace_all(r"\d[\d,]*", "N"))
        console.print(_table(kinds.group_by("kind", "reason").len("times").sort("times", descending=True).head(10)))
    console.print(f"{catalog.path}  (edit {catalog.path / 'taxonomy.toml'} and ingest again to change its words)")


@app.command
def split(catalog: Path, /, *, val: float = 0.25, test: float = 0.0, seed: int = 0) -> None:
    """Divide a catalog into train, val and test, with no group on two sides and the same mix everywhere.

    Parameters
    ----------
    val, test
        Shares of the products.
    seed
        Equal seeds give equal splits.
    """
    from attire.catalog.splits import balance
    from attire.catalog.splits import split as run
    from attire.catalog.store import Catalog

    opened = Catalog.open(catalog)
    splits = run(opened, val=val, test=test, seed=seed)
    deviations = balance(opened, splits)
    console.print(f"train {len(splits.train):,}  val {len(splits.val):,}  test {len(splits.test):,}")
    console.print("Furthest from the target share, among categories and values with at least 20 products:")
    common = deviations.filter(pl.col("count") >= 20)
    console.print(_table(common.sort(pl.col("deviation").abs(), descending=True).head(10)))


@app.command
def train(
    catalog: Path,
    /,
    *,
    out: Path,
    recipe: str = "base",
    stage: Literal["category", "attributes", "both"] = "both",
    weights: str | None = None,
    start: Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    backbone: str | None = None,
    size_px: tuple[int, int] | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    precision: Literal["auto", "32-true", "bf16-mixed"] | None = None,
    text: Literal["none", "title"] | None = None,
) -> None:
    """Train a recipe on the train split of a catalog; the model stands in OUT/bundle.

    Parameters
    ----------
    recipe
        base, seed, frozen, or a TOML file with the same fields.
    stage
        category and attributes can be trained one after the other, by two calls with the same --out.
    weights
        Safetensors file with the backbone's pretrained weights, or "none" to start from random ones.
    start
        Bundle of the same words and architecture to go on from, for instance what frozen made.
    resume
        Go on where a run with the same options stopped.
    workers
        Processes that decode photos.
    backbone
        Any timm model.
    size_px
        Height and width of the network's input.
    epochs, lr
        Of the stage named by --stage; of both stages otherwise.
    precision
        auto takes bf16 where the hardware multiplies it natively.
    text
        title: read the feed's titles too; photos alone can still be asked.
    """
    from attire.catalog.splits import Splits
    from attire.catalog.store import Catalog
    from attire.config import load_recipe
    from attire.training.run import train as run

    fields = {
        "backbone": backbone,
        "size_px": size_px,
        "batch_size": batch_size,
        "seed": seed,
        "precision": precision,
        "text": text,
    }
    overrides: dict[str, Any] = _given(fields)
    # --epochs is how long a recipe's stages are, not which it has: a stage without epochs stays without.
    for name in ("category", "attributes") if stage == "both" else (stage,):
        if getattr(load_recipe(recipe), name).epochs:
            overrides[name] = _given({"epochs": epochs, "lr": lr})
    opened = Catalog.open(catalog)
    bundle = run(
        opened,
        Splits.read(opened),
        recipe=load_recipe(recipe, overrides),
        out=out,
        stage=stage,
        weights=weights,
        start=start,
        resume=resume,
        workers=workers,
    )
    grid = _grid()
    for name, value in bundle.scores.items():
        grid.add_row(name.replace("_", " "), "–" if value is None else f"{value:.4f}")
    console.print(grid)
    console.print(f"{bundle.path}  (attire evaluate {bundle.path} {catalog} --out REPORT)")


@app.command
def evaluate(
    bundle: Path,
    catalog: Path,
    /,
    *,
    out: Path,
    split: str = "val",
    inputs: Literal["photo", "title", "both"] | None = None,
) -> None:
    """Score a bundle on products whose labels are known, beside two baselines that see no photo.

    Parameters
    ----------
    out
        Directory for report.html, scores.json and a table per key and per category.
    split
        train, val, test, or all.
    inputs
        What the model is shown; all that it reads, unless given.
    """
    from attire.catalog.store import Catalog
    from attire.evaluation.evaluate import evaluate as run
    from attire.evaluation.sheets import sheets, verdict

    report = run(bundle, Catalog.open(catalog), split, inputs=inputs, out=out)
    for sheet in sheets(report):
        console.print(sheet.table())
    console.print(verdict(report))
    console.print(f"{out / 'report.html'}")


@app.command
def compare(a: Path, b: Path, /, *, out: Path | None = None) -> None:
    """Differences between two reports on the same products, with paired intervals: what is beyond chance.

    Parameters
    ----------
    a, b
        Directories that `attire evaluate --out` wrote.
    out
        HTML file for all of it; the terminal shows only the keys that differ beyond chance.
    """
    from attire.catalog.store import replace_text
    from attire.evaluation.compare import compare as run
    from attire.evaluation.page import comparison_page
    from attire.evaluation.sheets import comparison_sheets, comparison_verdict

    comparison = run(a, b)
    figures, keys = comparison_sheets(comparison)
    console.print(f"A {a}\nB {b}\n{comparison.products:,} products in {comparison.groups:,} groups")
    console.print(figures.table())
    if telling := tuple(row for row in keys.rows if row[-1] in "AB"):
        console.print(keys._replace(rows=telling).table())
    console.print(comparison_verdict(comparison))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_text(out, comparison_page(comparison, str(a), str(b)))
        console.print(f"{out}")


@app.command
def predict(
    bundle: Path,
    source: Path,
    /,
    *,
    out: Path,
    images: Paths = [],  # noqa: B006
    split: str | None = None,
    format: Literal["wide", "long"] = "wide",
    precision: float = 0.95,
    fill: Literal["sure", "all"] = "sure",
    known_category: Annotated[bool, Parameter(negative="")] = False,
    engine: Literal["torch"] = "torch",
    batch_size: int = 32,
    feed_source: str = "table",
    options: Options = DEFAULTS,
) -> None:
    """Predict category and attributes of every product in a folder of photos, a feed or a catalog.

    Parameters
    ----------
    source
        Folder or archive of photos (a product each), feed (with --images), or catalog.
    out
        .parquet, .csv or .jsonl; a killed run goes on when it is called again.
    images
        Folders and archives that hold the feed's photos.
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
    feed_source
        How to read the feed, as ingest's --source.
    """
    from attire.predict.bulk import predict as run

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
        photos, explanations(bundle, [Question(photo, key, value) for photo in photos]), strict=True
    ):
        console.print(_plain(f"{photo}: {found.title}{f' ({found.others})' if found.others else ''}"), highlight=False)
        if found.warning:
            console.print(f"  [bold red]{_plain(found.warning)}[/]", highlight=False)
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
    from attire.evaluation.sheets import sheets, verdict

    made = run_demo(out, products=products, epochs=epochs, step=lambda text: console.rule(text, align="left"))
    console.rule("What came of it", align="left")
    console.print(sheets(made.scores)[0].table())
    console.print(verdict(made.scores))
    share = f" ({made.filled_right / made.filled:.0%})" if made.filled else ""
    console.print(
        f"Of {made.empty:,} fields that the feed left empty, {made.filled:,} were filled, {made.filled_right:,} rightly"
        f"{share}. {made.quarantined} bad photos were set aside."
    )
    grid = _grid()
    for name in ("feed", "catalog", "bundle", "predictions", "sheet", "report"):
        grid.add_row(name, str(getattr(made, name)))
    console.print(grid)


def main(command: Callable[[], object] = app) -> None:
    """Run `command`, the command line by default; errors raised on purpose are printed without a traceback."""
    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("attire").setLevel(logging.INFO)
    try:
        command()
    except AttireError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {_plain(str(error))}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(130)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _plain(text: str) -> str:
    """Text of users, in which brackets are no markup."""
    return text.replace("[", r"\[")


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    return grid


def _table(rows: pl.DataFrame) -> Table:
    table = Table()
    for name, kind in rows.schema.items():
        table.add_column(name, justify="right" if kind.is_numeric() else "left")
    for row in rows.iter_rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else _plain(str(value))
    )
