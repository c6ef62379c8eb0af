"""Products to label first, while there is no model: those that are typical of many others.

TypiClust (Hacohen et al., "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets", ICML 2022):
the products are divided into about as many clusters as there will be labelled ones, and of each cluster without a
labelled product, the largest first, the most typical product is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from attire.acquisition.design import Bools, Choice, Fields, Floats

CLUSTERS = 500  # more are too small to have a typical product
NEIGHBOURS = 20  # within the cluster, to which the distance counts
ROUNDS = 30  # of k-means
SEED = 0


def choose_typical(fields: Fields, n: int) -> Iterator[Choice]:
    """Yield `n` products with all their open fields, the most typical ones of large clusters first.

    A cluster counts as labelled by its products with a label of any key. The gain of a field is how typical the product
    is, from 0 to 1.
    """
    labelled = np.asarray(fields.labelled[:, 1:].any(axis=1))
    open = np.asarray(fields.open.any(axis=1))
    cluster = _clusters(fields.features, int(labelled.sum()) + n)
    count = int(cluster.max(initial=-1)) + 1
    size, covered = np.bincount(cluster, minlength=count), np.bincount(cluster[labelled], minlength=count)
    waiting = np.bincount(cluster[open], minlength=count)
    ordered: dict[int, Iterator[tuple[int, float]]] = {}
    for _ in range(min(n, int(open.sum()))):
        chosen = int(np.lexsort((-size, covered, waiting == 0))[0])
        if chosen not in ordered:
            ordered[chosen] = _most_typical(fields.features, np.flatnonzero(cluster == chosen), open)
        row, typical = next(ordered[chosen])
        asked = np.flatnonzero(fields.open[row]).tolist()
        yield Choice(row, tuple(asked), (typical,) * len(asked))
        covered[chosen] += 1
        waiting[chosen] -= 1


def _clusters(features: Floats, wanted: int) -> NDArray[np.int64]:
    """int64[N]: the cluster of each product, of at most `CLUSTERS` and no more than there are different products."""
    number = min(wanted, CLUSTERS, len(np.unique(features, axis=0)))
    if number < 2:
        return np.zeros(len(features), np.int64)
    means = KMeans(number, n_init=1, max_iter=ROUNDS, random_state=SEED)
    return np.asarray(means.fit_predict(features.astype(np.float64)), np.int64)


def _most_typical(features: Floats, rows: NDArray[np.int64], open: Bools) -> Iterator[tuple[int, float]]:
    """The open products of one cluster with how typical they are, the most typical first."""
    distance = np.zeros(len(rows))
    if len(rows) > 1:
        near, _ = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows) - 1)).fit(features[rows]).kneighbors()
        distance = near.mean(axis=1)
    for place in np.argsort(distance, kind="stable").tolist():
        if open[rows[place]]:
            yield int(rows[place]), 1 / (1 + float(distance[place]))
