"""Accepted answers in tests that are about keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attire.score.decisions import Accepted
from attire.taxonomy import Taxonomy


def with_categories(taxonomy: Taxonomy, keys: NDArray[np.bool_]) -> Accepted:
    """These keys (bool[N, A]) and all categories are accepted, and no coarser values."""
    return Accepted(np.ones(len(keys), dtype=bool), keys, np.zeros((len(keys), taxonomy.width), dtype=bool))
