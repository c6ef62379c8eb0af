"""The options of `attire review`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a review page.

    Parameters
    ----------
    predictions
        The output of `attire predict BUNDLE CATALOG --format long`.
    bundle
        The bundle that made the predictions, for heat maps, similar photos and the button Learn.
    embed
        With --bundle, first let it look at the photos that it has not seen yet, for similar photos (minutes for
        thousands, once).
    store
        Where decisions are saved: a file, or postgresql://user@host/database for a team on several machines.
        Default: CATALOG/review.sqlite.
    reviewer
        The reviewer's name in browsers where no name was entered.
    audit
        Size of the random sample on which precision is measured.
    seed
        Random seed of the sample.
    """

    predictions: Path
    bundle: Path | None = None
    embed: Annotated[bool, Parameter(negative="")] = False
    store: str | None = None
    reviewer: str = ""
    audit: int = 300
    seed: int = 0
