"""Verbs for a shelf of models: promote and shelf."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from attire.cli.app import app, console, table
from attire.errors import ConfigError

if TYPE_CHECKING:
    from attire.promotion.promote import Promotion

REFUSED = 1  # exit status; 2 is that of errors


@app.command
def promote(
    bundle: Path | None = None,
    /,
    *,
    shelf: Path,
    catalog: Path | None = None,
    split: Literal["test", "val", "all"] = "test",
    why: str = "",
    who: str | None = None,
    force: bool = False,
    rollback: bool = False,
    to: int | None = None,
) -> None:
    """Make a bundle the present version of a shelf, unless it is worse than the one that is there.

    Both are evaluated on products of the catalog that neither learned from. The exit status is 1 if the bundle is
    refused. A server that was started with the shelf (attire serve SHELF) goes over to the new version by itself.

    Parameters
    ----------
    bundle
        The candidate, which is copied. Another shelf stands for its present version.
    shelf
        Directory of the shelf; a new one is made.
    catalog
        Catalog whose products are compared on.
    split
        test, val, or all. Without a test split, val is used.
    why
        A reason, for the history.
    who
        Your name, for the history; by default that of your account.
    force
        Promote it even if it is worse, or cannot be compared.
    rollback
        Go back to the version before the present one, or to that of --to, without evaluating anything.
    to
        Version to go back to.
    """
    if rollback:
        if bundle is not None or catalog is not None or force:
            raise ConfigError("--rollback takes --shelf, --to, --why and --who, and no bundle, --catalog or --force.")
        from attire.promotion.promote import rollback as run_rollback

        entry = run_rollback(shelf, to, why=why, who=who).present
        console.print(f"version {entry.version} of {shelf} is the present one again", highlight=False)
        return
    if bundle is None or catalog is None or to is not None:
        raise ConfigError(
            "expected attire promote BUNDLE --shelf DIR --catalog CATALOG, or attire promote --shelf DIR --rollback "
            "[--to VERSION]."
        )
    from attire.promotion.promote import promote as run

    promotion = run(bundle, shelf, catalog, split=split, why=why, who=who, force=force)
    _print(promotion)
    if not promotion.promoted:
        console.print("refused: the present version stays. --force promotes it all the same.", style="bold red")
        sys.exit(REFUSED)
    forced = ", by --force" if promotion.forced else ""
    console.print(f"version {promotion.version} of {shelf} is the present one now{forced}", highlight=False)


def _print(promotion: Promotion) -> None:
    """The comparison, as far as there is one."""
    from attire.promotion.tables import judgement_sheets

    if promotion.judgement is not None:
        for sheet in judgement_sheets(promotion.judgement, promotion.split):
            console.print(sheet.table())
    for note in promotion.notes:
        console.print(note, style="yellow")
    console.print(promotion.verdict)
    if promotion.present and promotion.candidate:
        console.print(f"(attire compare {promotion.present} {promotion.candidate} --out COMPARISON.html)")


@app.command
def shelf(directory: Path, /) -> None:
    """List the versions of a shelf, with their figures when they were promoted, and its history: who, when and why."""
    from attire.promotion.tables import history_sentences, version_rows
    from attire.shelf import require_shelf

    content = require_shelf(directory)
    console.print(table(pl.DataFrame(version_rows(content))))
    for sentence in history_sentences(content):
        console.print(sentence, highlight=False)
