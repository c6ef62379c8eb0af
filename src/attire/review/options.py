"""The options of `attire review`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a review page.

    Parameters
    ----------
    predictions
        The output of `attire predict BUNDLE CATALOG --format long`.
    bundle
        The bundle that made the predictions, for heat maps and for the button Learn.
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
    store: str | None = None
    reviewer: str = ""
    audit: int = 300
    seed: int = 0
