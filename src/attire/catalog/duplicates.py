"""Find near-duplicate photos, and tie products that share a photo into groups, which splits keep together.

Near duplicates are found by perceptual hash (pHash: DCT of a small grey image, Zauner 2010, computed by the library
ImageHash) and confirmed by a small colour thumbnail, because two plain shirts can share a hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_SIDE = 16  # 256 bits
THUMB_SIDE = 8
BANDS = 16  # bands of 16 bits: two hashes that differ in fewer than 16 bits agree in at least one band
WINDOW = 32  # neighbours compared per band: bounds the cost if thousands of photos share a band
MAX_BITS = 10  # of 256. Tuned with MAX_COLOUR by eye on 10,131 real photos: pairs show one shot, at most recoloured
MAX_COLOUR = 2.0  # mean absolute difference of the thumbnails, on a scale of 255


def fingerprint(photo: Image.Image) -> tuple[bytes, bytes]:
    """The photo's perceptual hash (32 bytes) and colour thumbnail (8 x 8 RGB, 192 bytes)."""
    bits = imagehash.phash(photo, hash_size=HASH_SIDE).hash
    thumb = photo.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX)
    return np.packbits(bits).tobytes(), thumb.tobytes()


def near_duplicates(hashes: Sequence[bytes], thumbs: Sequence[bytes]) -> NDArray[np.int64]:
    """int64[P, 2]: pairs of indices of near-duplicate photos."""
    if len(hashes) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    bits = np.frombuffer(b"".join(hashes), dtype=np.uint16).reshape(-1, BANDS)
    colours = np.frombuffer(b"".join(thumbs), dtype=np.uint8).reshape(len(bits), -1)
    candidates = [pairs for pairs in _candidates(bits) if len(pairs)]
    if not candidates:
        return np.zeros((0, 2), dtype=np.int64)
    pairs = np.unique(np.sort(np.concatenate(candidates), axis=1), axis=0)
    difference = np.abs(colours[pairs[:, 0]].astype(np.int16) - colours[pairs[:, 1]]).mean(axis=1)
    return np.asarray(pairs[difference <= MAX_COLOUR])


def _candidates(bits: NDArray[np.uint16]) -> Iterator[NDArray[np.int64]]:
    """Pairs whose hashes differ in at most `MAX_BITS` bits, found among neighbours that share a band."""
    for band in range(BANDS):
        order = np.lexsort([*bits.T, bits[:, band]])
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            together = bits[left, band] == bits[right, band]
            if not together.any():
                break
            left, right = left[together], right[together]
            distance = np.bitwise_count(bits[left] ^ bits[right]).sum(axis=1, dtype=np.int64)
            near = distance <= MAX_BITS
            yield np.stack([left[near], right[near]], axis=1)


def tie(size: int, links: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """int64[size]: the smallest index in the connected component of each index (union-find)."""
    root = list(range(size))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for a, b in links:
        low, high = sorted((find(a), find(b)))
        root[high] = low
    return np.array([find(i) for i in range(size)], dtype=np.int64)
