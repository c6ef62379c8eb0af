"""What a review page is started with; the verb's options and the context's are these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is reviewed, and where decisions go.

    Parameters
    ----------
    predictions
        What `attire predict BUNDLE CATALOG --format long` wrote.
    bundle
        The model that predicted, for heat maps.
    store
        Another file, or postgresql://user@host/database for a team on several machines.
    reviewer
        Who decides, in browsers that were not told another name.
    audit
        Size of the random sample that measures precision.
    seed
        What draws the sample.
    """

    predictions: Path
    bundle: Path | None = None
    store: str | None = None
    reviewer: str = ""
    audit: int = 300
    seed: int = 0
