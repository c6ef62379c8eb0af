"""The nearest of many vectors: exactly with numpy, or by a graph of neighbours (usearch) if there are very many."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from attire.errors import MissingExtraError

EXACT = 100_000  # vectors that are searched exactly
ROWS, QUERIES = 16_384, 512  # compared at once
# Vectors that are kept while the graph (HNSW, Malkov and Yashunin, 2018) is searched. Among 4,000 random ones, this
# finds 0.998 of the nearest ten, and usearch's default of 64 finds 0.986.
EXPANSION = 256

Vectors = NDArray[np.floating]


class Nearest(NamedTuple):
    """The nearest vectors of Q queries, the most similar first.

    rows: int64[Q, k]; similarity: float32[Q, k], inner products. Where there are fewer than k: row -1 and -inf.
    """

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]


class Search(Protocol):
    """Finds the nearest of N unit vectors."""

    def nearest(self, queries: Vectors, count: int, allowed: NDArray[np.bool_] | None = None) -> Nearest:
        """The `count` nearest vectors of each query (float[Q, D]), among those `allowed` (bool[N])."""
        ...


def make_search(vectors: NDArray[np.float32]) -> Search:
    """A search among unit vectors, float32[N, D]; raises `MissingExtraError` for many vectors without usearch."""
    return ExactSearch(vectors) if len(vectors) <= EXACT else GraphSearch(vectors)


class ExactSearch:
    """Compares each query with all vectors."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def nearest(self, queries: Vectors, count: int, allowed: NDArray[np.bool_] | None = None) -> Nearest:
        candidates = np.arange(len(self.vectors)) if allowed is None else np.flatnonzero(allowed)
        blocks = [queries[i : i + QUERIES] for i in range(0, max(1, len(queries)), QUERIES)]
        found = [self._nearest(np.asarray(block, np.float32), count, candidates) for block in blocks]
        return Nearest(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _nearest(self, queries: NDArray[np.float32], count: int, candidates: NDArray[np.int64]) -> Nearest:
        best = Nearest(np.full((len(queries), count), -1), np.full((len(queries), count), -np.inf, np.float32))
        for start in range(0, len(candidates), ROWS):
            rows = candidates[start : start + ROWS]
            every = len(rows) == rows[-1] - rows[0] + 1
            block = self.vectors[rows[0] : rows[-1] + 1] if every else self.vectors[rows]  # a slice is not copied
            best = _first(best, _of_block(queries @ block.astype(np.float32, copy=False).T, rows, count), count)
        return best


class GraphSearch:
    """Follows a graph of neighbours, which finds nearly all of the nearest; among few allowed vectors it is exact.

    Vectors are kept as float16, in half of the memory.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        try:
            from usearch.index import Index
        except ImportError:
            raise MissingExtraError(f"looking for similar ones among {len(vectors):,} photos", "neighbours") from None
        self._exact = ExactSearch(vectors.astype(np.float16))
        self._index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f16",
            expansion_search=EXPANSION,
        )
        self._index.add(np.arange(len(vectors), dtype=np.uint64), self._exact.vectors)

    def nearest(self, queries: Vectors, count: int, allowed: NDArray[np.bool_] | None = None) -> Nearest:
        total = len(self._exact.vectors)
        candidates = total if allowed is None else int(allowed.sum())
        if candidates <= EXACT and allowed is not None:
            return self._exact.nearest(queries, count, allowed)
        count, wanted = min(count, candidates), count
        while True:
            # Twice as many as should be enough if the allowed ones were anywhere.
            wanted = min(total, max(2 * wanted, 2 * count * total // max(1, candidates)))
            found = self._search(np.asarray(queries, np.float16), wanted)
            if allowed is not None:
                forbidden = (found.rows < 0) | ~allowed[found.rows]
                found.similarity[forbidden], found.rows[forbidden] = -np.inf, -1
            if wanted == total or (found.rows >= 0).sum(axis=1).min(initial=count) >= count:
                return _first(found, Nearest(found.rows[:, :0], found.similarity[:, :0]), count)

    def _search(self, queries: NDArray[np.float16], count: int) -> Nearest:
        matches = self._index.search(queries, count)
        keys, distances = (np.atleast_2d(np.asarray(part)) for part in (matches.keys, matches.distances))
        # A batch is padded with zeros if fewer were found; one query is not padded, and has no counts.
        counts = np.atleast_1d(np.asarray(getattr(matches, "counts", keys.shape[1])))
        is_found = np.arange(keys.shape[1]) < counts[:, None]
        rows = np.where(is_found, keys.astype(np.int64), -1)
        return Nearest(rows, np.where(is_found, 1 - distances, -np.inf).astype(np.float32))


def _of_block(similarity: NDArray[np.float32], rows: NDArray[np.int64], count: int) -> Nearest:
    """The nearest of a block, in no order. similarity: [Q, B]; rows: [B]."""
    if count >= len(rows):
        return Nearest(np.broadcast_to(rows, similarity.shape), similarity)
    top = np.argpartition(-similarity, count, axis=1)[:, :count]
    return Nearest(rows[top], np.take_along_axis(similarity, top, axis=1))


def _first(a: Nearest, b: Nearest, count: int) -> Nearest:
    """The first `count` of both by similarity; equal ones by row."""
    rows = np.concatenate([a.rows, b.rows], axis=1)
    similarity = np.concatenate([a.similarity, b.similarity], axis=1)
    order = np.lexsort((rows, -similarity), axis=1)[:, :count]
    return Nearest(np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarity, order, axis=1))
