"""The verb for labels: audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from attire.cli.app import app, console, drop_unset, facts
from attire.cli.training import DEFAULTS, FIELDS
from attire.config import load_recipe, merge, parse_assignments


@app.command(help_epilogue=DEFAULTS)
def audit(
    catalog: Path,
    /,
    *,
    out: Path,
    recipe: str = "audit",
    folds: int = 5,
    weights: str | None = None,
    workers: int | None = None,
    cache: bool | None = None,
    backbone: Annotated[str | None, Parameter(help=FIELDS["backbone"])] = None,
    size_px: Annotated[tuple[int, int] | None, Parameter(help=FIELDS["size_px"])] = None,
    seed: Annotated[int | None, Parameter(help=FIELDS["seed"])] = None,
    text: Annotated[str | None, Parameter(help=FIELDS["text"])] = None,
    fields: Annotated[list[str] | None, Parameter(name="--set")] = None,
) -> None:
    """Find labels of a catalog that are probably wrong, and queue them for `attire review`.

    Every label of train and val is compared with the answer of a network that has not learned the product. Those of
    test are not audited.

    Parameters
    ----------
    out
        Directory for report.html with photos, suspects.csv (.xlsx, .parquet), and keys.csv with the noise of each key.
    recipe
        audit, frozen, tuned, base, or a TOML file with the same fields. A network is trained for each fold.
    folds
        Parts of train and val; each is answered by a network that learned the others.
    weights
        Safetensors file with the backbone's pretrained weights, or "none" to start from random ones.
    workers
        Processes that prepare photos.
    cache
        Decode photos once, into a cache in the catalog. An existing cache is used unless --no-cache is given.
    fields
        Any fields of the recipe, as FIELD=VALUE: --set attributes.epochs=12 trunk=1024.
    """
    from attire.auditing.audit import PAGE, counts_by_kind
    from attire.auditing.audit import audit as run

    flags: dict[str, Any] = {"backbone": backbone, "size_px": size_px, "seed": seed, "text": text}
    found = run(
        catalog,
        out=out,
        recipe=load_recipe(recipe, merge(drop_unset(flags), parse_assignments(fields or ()))),
        folds=folds,
        weights=weights,
        workers=workers,
        cache=cache,
    )
    counts = {"labels": f"{found.fields:,} of {found.products:,} products"}
    counts |= {kind: f"{count:,}" for kind, count in counts_by_kind(found).items()}
    if found.decided:
        counts["decided by reviewers"] = f"{found.decided:,}, left out"
    console.print(facts(counts))
    console.print(f"{out / PAGE}  (attire review {catalog} has them as a queue)", soft_wrap=True)
