"""The verb for learning what reviewers decided."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from attire.cli.app import WANTED, Wanted, app, console, facts, table
from attire.errors import MissingExtraError


@app.command
def learn(
    catalog: Path,
    /,
    *,
    bundle: Path,
    out: Path,
    store: str | None = None,
    workers: int | None = None,
    wanted: Wanted = WANTED,
) -> None:
    """Learn the decisions of reviewers: train the heads of a bundle again, and compare the new bundle with it.

    Writes OUT/bundle, what it predicts for the catalog, and the scores of both bundles on products that neither has
    learned from. The bundle stays as it is. The review page does the same with its button Learn.

    Parameters
    ----------
    bundle
        The bundle to continue from. Keep the folder of its run: with its folds this takes about a minute.
    out
        A new folder.
    store
        The --store that the review page was started with.
    workers
        Processes that prepare photos that are not in the catalog's cache yet.
    """
    try:
        from attire.learning.learn import learn as run
    except ImportError:
        raise MissingExtraError("learning from reviews", "review") from None
    from attire.evaluation.tables import FIGURE_TITLES

    outcome = run(catalog, bundle, out, store=store, precision=wanted.promise, workers=workers)
    console.print(
        facts(
            {
                "learned": f"{outcome.learned:,} new decisions",
                "only checked": f"{outcome.checks:,} on products of val and test, {outcome.sampled:,} of the sample",
                "measured on": f"{outcome.products:,} products that neither bundle has learned from",
                "time": f"{outcome.seconds:.0f} s",
            }
        )
    )
    rows = [(FIGURE_TITLES[row.name], row) for row in outcome.figures] + [(row.name, row) for row in outcome.keys]
    columns = {"before": "before", "after": "after", "low": "from", "high": "to"}
    console.print(
        table(
            pl.DataFrame(
                [
                    {
                        "figure": title,
                        **{name: getattr(row, field) for field, name in columns.items()},
                        "better": row.better,
                    }
                    for title, row in rows
                ]
            ).fill_nan(None)
        )
    )
    console.print(
        f"{outcome.bundle}  (attire review {catalog} --predictions {outcome.predictions} --bundle {outcome.bundle})",
        soft_wrap=True,
    )
