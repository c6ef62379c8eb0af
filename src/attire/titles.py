"""A product's title as numbers: which n-grams it consists of, as positions in a table of fixed size."""

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

LONGEST = 160  # n-grams of one title; of a fashion shop's titles (36 characters on average) 1 in 1,000 has more
READ = 10_000  # characters of a title that are looked at: more hold a page, and take long to normalise
CHARACTERS = (3, 4, 5)  # lengths of the n-grams inside a word


@dataclass(frozen=True, slots=True)
class TitleReader:
    """Titles -> int32[N, LONGEST], each n-gram hashed into 1..buckets-1; 0 is padding, and nothing else if empty.

    Words, pairs of neighbours, and character n-grams inside each word (Bojanowski et al., "Enriching Word Vectors with
    Subword Information", 2017), so that inflected, joined and misspelt words still say something. Nothing is learned
    here: equal titles and `buckets` give equal numbers everywhere, for ever.
    """

    buckets: int

    @classmethod
    def of(cls, architecture: Architecture) -> Self | None:
        """The reader that a network was trained with, None for one that reads photos only."""
        return cls(architecture.text_buckets) if architecture.text == "title" else None

    def __call__(self, titles: Sequence[str]) -> NDArray[np.int32]:
        ids = np.zeros((len(titles), LONGEST), dtype=np.int32)
        for row, title in enumerate(titles):
            # CRC-32, for Python's own hash differs from process to process.
            first = islice(ngrams(title[:READ]), LONGEST)
            found = [zlib.crc32(ngram.encode()) % (self.buckets - 1) + 1 for ngram in first]
            ids[row, : len(found)] = found
        return ids


def ngrams(title: str) -> Iterator[str]:
    """The n-grams of a title, the most telling first.

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
