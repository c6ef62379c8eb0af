"""The verb that says how many labels it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from attire.cli.app import WANTED, Wanted, app, console, drop_unset
from attire.config import load_recipe, merge, parse_assignments


@app.command
def curve(
    catalog: Path,
    /,
    *,
    out: Path,
    recipe: str = "frozen",
    weights: str | None = None,
    backbone: str | None = None,
    size_px: tuple[int, int] | None = None,
    seed: int = 0,
    fields: Annotated[list[str] | None, Parameter(name="--set")] = None,
    wanted: Wanted = WANTED,
) -> None:
    """Say how many labels each key takes: train on parts of train, score on val, and extrapolate.

    Trains about six times as long as one run of the recipe: on 1/16, 1/8, 1/4, 1/2 and all of the train split, with
    cached embeddings. Finished parts are kept, so that an interrupted call goes on.

    Parameters
    ----------
    out
        Directory for curve.html and curve.json.
    recipe
        frozen, or a TOML file of a recipe that trains only heads.
    weights
        Safetensors file with the backbone's pretrained weights, or "none" for random ones.
    backbone
        As in `attire train`.
    size_px
        As in `attire train`.
    seed
        Of the order in which groups of products are added.
    fields
        Any fields of the recipe, as FIELD=VALUE.
    """
    from attire.files import replace_text
    from attire.learning_curve.curve import curve as run
    from attire.learning_curve.page import page
    from attire.learning_curve.tables import sheet, verdict
    from attire.storage import storing

    overrides: dict[str, Any] = drop_unset({"backbone": backbone, "size_px": size_px})
    result = run(
        catalog,
        out=out,
        recipe=load_recipe(recipe, merge(overrides, parse_assignments(fields or ()))),
        weights=weights,
        precision=wanted.promise,
        seed=seed,
    )
    with storing(out):
        replace_text(out / "curve.html", page(result))
    console.print(sheet(result).table())
    console.print(verdict(result))
    console.print(f"{out / 'curve.html'}")
