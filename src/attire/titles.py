"""Product titles as hashed n-grams: indices into an embedding table of fixed size."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from attire.config import Architecture

LONGEST = 160  # n-grams per title; 1 in 1,000 titles of a fashion shop (36 characters on average) has more
READ = 10_000  # characters read of a title: longer ones are whole pages, and slow to normalise
CHARACTERS = (3, 4, 5)  # lengths of character n-grams inside a word


@dataclass(frozen=True, slots=True)
class TitleReader:
    """Titles -> int32[N, LONGEST]: each n-gram hashed into 1..buckets-1, then padding with 0. An empty title is all 0.

    The n-grams are words, pairs of neighbouring words, and character n-grams inside each word (Bojanowski et al.,
    "Enriching Word Vectors with Subword Information", 2017), so that inflected, joined and misspelt words are still
    useful. Nothing is learned: equal titles and `buckets` always give equal indices, on every machine.
    """

    buckets: int

    @classmethod
    def of(cls, architecture: Architecture) -> Self | None:
        """The reader for a network, or None if the network reads photos only."""
        return cls(architecture.text_buckets) if architecture.text == "title" else None

    def __call__(self, titles: Sequence[str]) -> NDArray[np.int32]:
        ids = np.zeros((len(titles), LONGEST), dtype=np.int32)
        for row, title in enumerate(titles):
            # CRC-32, because Python's own hash differs between processes.
            first = islice(ngrams(title[:READ]), LONGEST)
            hashes = [zlib.crc32(ngram.encode()) % (self.buckets - 1) + 1 for ngram in first]
            ids[row, : len(hashes)] = hashes
        return ids


def ngrams(title: str) -> Iterator[str]:
    """The n-grams of a title, the most informative first.

    >>> list(ngrams("Red TEE"))
    ['<red>', '<tee>', 'red tee', '<re', 'red', 'ed>', '<red', 'red>', '<te', 'tee', 'ee>', '<tee', 'tee>']
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", title).casefold())
    marked = [f"<{word}>" for word in words]
    yield from marked
    yield from (f"{left} {right}" for left, right in pairwise(words))
    for word in marked:
        for length in CHARACTERS:
            if length < len(word):
                yield from (word[start : start + length] for start in range(len(word) - length + 1))
