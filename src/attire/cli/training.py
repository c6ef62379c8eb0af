"""Verbs for models: train, blend, evaluate and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.text import Text

from attire.cli.app import WANTED, Wanted, app, console, drop_unset, facts
from attire.config import load_recipe, merge, parse_assignments, recipe_fields
from attire.errors import ConfigError

if TYPE_CHECKING:
    from attire.bundle import ModelBundle

FIELDS = {field.path: field.description for field in recipe_fields()}
DEFAULTS = "\n".join(
    ["Fields of a recipe for --set and recipe files, with their defaults:", ""]
    + [f"- `{field.path}` ({field.default}): {field.description}" for field in recipe_fields()]
)


@app.command(help_epilogue=DEFAULTS)
def train(
    catalog: Path,
    /,
    *,
    out: Path,
    recipe: str = "tuned",
    stage: Literal["category", "attributes", "both"] = "both",
    weights: str | None = None,
    init_from: Path | None = None,
    only_keys: list[str] | None = None,
    resume: bool = False,
    workers: int | None = None,
    cache: bool | None = None,
    backbone: Annotated[str | None, Parameter(help=FIELDS["backbone"])] = None,
    size_px: Annotated[tuple[int, int] | None, Parameter(help=FIELDS["size_px"])] = None,
    batch_size: Annotated[int | None, Parameter(help=FIELDS["batch_size"])] = None,
    epochs: int | None = None,
    lr: float | None = None,
    seed: Annotated[int | None, Parameter(help=FIELDS["seed"])] = None,
    amp: Annotated[Literal["auto", "bf16", "off"] | None, Parameter(help=FIELDS["amp"])] = None,
    text: Annotated[Literal["none", "title"] | None, Parameter(help=FIELDS["text"])] = None,
    fields: Annotated[list[str] | None, Parameter(name="--set")] = None,
) -> None:
    """Train a model on the train split of a catalog and write it to OUT/bundle.

    Parameters
    ----------
    recipe
        base, original, frozen, or a TOML file with the same fields.
    stage
        Train one stage only. The two can be trained by two calls with the same --out.
    weights
        Safetensors file with the backbone's pretrained weights, or "none" to start from random ones.
    init_from
        Bundle of the same architecture to start from, for example one of the recipe frozen. Weights are carried over by
        the names of words, so that the taxonomy may have changed.
    only_keys
        Train only the heads of these keys, on the frozen rest of the bundle in --init-from: seconds if its embeddings
        are cached. The recipe is that of the bundle; its answers on other keys stay as they are.
    resume
        Continue an interrupted run with the same options.
    workers
        Processes that prepare photos.
    cache
        Decode photos once, into a cache in the catalog. An existing cache is used unless --no-cache is given.
    epochs
        Epochs of the stage named by --stage, or of both stages.
    lr
        Peak learning rate of the stage named by --stage, or of both stages.
    fields
        Any fields of the recipe, as FIELD=VALUE: --set attributes.lr=3e-4 loss=focal loss.gamma=1.
    """
    from attire.training.run import train as run

    flags = {
        "backbone": backbone,
        "size_px": size_px,
        "batch_size": batch_size,
        "seed": seed,
        "amp": amp,
        "text": text,
    }
    overrides: dict[str, Any] = drop_unset(flags)
    # --epochs changes the length of stages; a stage with no epochs in the recipe stays left out.
    for name in ("category", "attributes") if stage == "both" else (stage,):
        if getattr(load_recipe(recipe), name).epochs:
            overrides[name] = drop_unset({"epochs": epochs, "lr": lr})
    given = drop_unset(flags | {"epochs": epochs, "lr": lr, "set": fields})
    if only_keys and given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"--only-keys keeps the bundle's recipe, so it has no use for {named}: leave them out.")
    bundle = run(
        catalog,
        recipe=load_recipe(recipe, merge(overrides, parse_assignments(fields or ()))),
        out=out,
        stage=stage,
        weights=weights,
        init_from=init_from,
        only_keys=only_keys or (),
        resume=resume,
        workers=workers,
        cache=cache,
    )
    _print_trained(bundle, catalog)


@app.command
def blend(*bundles: Path, catalog: Path, out: Path, workers: int | None = None) -> None:
    """Blend bundles into one that answers with the mean of theirs, more accurately, and takes as long as all of them.

    Parameters
    ----------
    bundles
        Two bundles or more, each in the folder of its run, whose folds calibrate the blend.
    catalog
        Catalog with the split that all of them were trained on.
    out
        Folder for the bundle, which is OUT/bundle.
    workers
        Processes that prepare photos that are not in the catalog's cache yet.
    """
    from attire.training.blend import blend as run

    _print_trained(run(bundles, catalog, out, workers=workers), catalog)


@app.command
def evaluate(
    bundle: Path,
    catalog: Path,
    /,
    *,
    out: Path,
    split: str = "val",
    inputs: Literal["photo", "title", "both"] | None = None,
    engine: str = "auto",
    wanted: Wanted = WANTED,
) -> None:
    """Score a bundle on products with labels, next to baselines that use no photos.

    Parameters
    ----------
    out
        Directory for report.html, scores.json and tables per key and per category.
    split
        train, val, test, or all.
    inputs
        What the model reads; by default everything it can read.
    engine
        torch, or an exported engine: onnx, onnx-int8, openvino, openvino-int8. auto is the fastest here.
    """
    from attire.evaluation.evaluate import evaluate as run
    from attire.evaluation.promise_tables import promise_sentences, promise_sheets
    from attire.evaluation.tables import sheets, verdict

    report = run(bundle, catalog, split, inputs=inputs, engine=engine, precision=wanted.promise, out=out)
    for sheet in sheets(report):
        console.print(sheet.table())
    by_key, _ = promise_sheets(report)
    if by_key.rows:
        console.print(by_key.table())
    for sentence in (*promise_sentences(report), verdict(report)):
        console.print(sentence)
    _print_notes(report.notes)
    console.print(f"{out / 'report.html'}")


@app.command
def compare(a: Path, b: Path, /, *more: Path, out: Path | None = None) -> None:
    """Compare reports on the products that none of their bundles learned from, with intervals of the differences.

    Two reports are compared figure by figure and key by key. Of more, given in their order in time, each is compared
    with the first one and with the one before it.

    Parameters
    ----------
    a
        Directory that `attire evaluate --out` wrote.
    b
        The same of another bundle.
    more
        The same of later bundles.
    out
        HTML file with the full comparison. Of two reports, the terminal shows only the keys that differ beyond chance.
    """
    from attire.files import replace_text
    from attire.storage import storing

    page = _over_time([a, b, *more]) if more else _side_by_side(a, b)
    if out is not None:
        with storing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            replace_text(out, page())
        console.print(f"{out}")


def _side_by_side(a: Path, b: Path) -> Callable[[], str]:
    """Print the comparison of two reports; returns what renders its page."""
    from attire.evaluation.compare import compare as run
    from attire.evaluation.report_page import comparison_page
    from attire.evaluation.tables import comparison_sheets, comparison_verdict, extent

    comparison = run(a, b)
    figures, *of_keys = comparison_sheets(comparison)
    console.print(f"A {a}\nB {b}\n{extent(comparison.products, comparison.groups, comparison.left_out)}")
    console.print(figures.table())
    for sheet in of_keys:
        if significant := tuple(row for row in sheet.rows if row[-1] in "AB"):
            console.print(sheet._replace(rows=significant).table())
    console.print(comparison_verdict(comparison))
    _print_notes(comparison.notes)
    return lambda: comparison_page(comparison, str(a), str(b))


def _over_time(reports: Sequence[Path]) -> Callable[[], str]:
    """Print the figures of several reports; returns what renders their page."""
    from attire.evaluation.report_page import trend_page
    from attire.evaluation.tables import extent, trend_sheets, trend_verdict
    from attire.evaluation.trend import trend as run

    trend = run(reports)
    console.print("\n".join(f"{i} {name}" for i, name in enumerate(trend.names, 1)))
    console.print(extent(trend.products, trend.groups, trend.left_out))
    for sheet in trend_sheets(trend):
        console.print(sheet.table())
    console.print(trend_verdict(trend))
    _print_notes(trend.notes)
    return lambda: trend_page(trend)


def _print_trained(bundle: ModelBundle, catalog: Path) -> None:
    scores = bundle.scores.items()
    console.print(facts({n.replace("_", " "): "–" if value is None else f"{value:.4f}" for n, value in scores}))
    console.print(f"{bundle.path}  (attire evaluate {bundle.path} {catalog} --out REPORT)")


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(Text.assemble(("note:", "bold yellow"), " ", note))
