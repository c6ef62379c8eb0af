"""Accepted answers in tests that are about keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attire.score.decisions import Accepted


def with_categories(keys: NDArray[np.bool_]) -> Accepted:
    """These keys (bool[N, A]) and all categories are accepted."""
    return Accepted(np.ones(len(keys), dtype=bool), keys)
