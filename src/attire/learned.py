"""The photos that a model learned from, by content, so that it is never scored on them unnoticed.

Photos are told apart by the first 64 bits of their SHA-256, which a catalog has in `photos.parquet`. So a photo is
recognised after its product, group or catalog got another name. Among a million photos, two different ones share these
bits with a probability of 3 in 100 million, and that would only leave a group out of a score.

learned.safetensors: `photos`, uint64[N], sorted
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from attire.files import replacing

LEARNED = "learned.safetensors"  # in a bundle
_PHOTOS = "photos"
_HEX = 16  # digits of 64 bits


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Learned:
    """The photos of all groups that a model was trained or calibrated on: uint64[N], sorted."""

    photos: NDArray[np.uint64]

    @classmethod
    def of(cls, digests: Iterable[str]) -> Self:
        """From the SHA-256 of photos, in hexadecimal."""
        return cls(np.unique(_first_bits(digests)))

    def has(self, digests: Iterable[str]) -> NDArray[np.bool_]:
        """bool[N]: whether the model learned from each of these photos, given by their SHA-256."""
        return np.isin(_first_bits(digests), self.photos)

    def __or__(self, other: Learned) -> Learned:
        return Learned(np.union1d(self.photos, other.photos))

    def __len__(self) -> int:
        return len(self.photos)

    def save(self, folder: Path) -> None:
        """Write `learned.safetensors` into a folder, atomically."""
        with replacing(folder / LEARNED) as temporary:
            save_file({_PHOTOS: self.photos}, temporary)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `learned.safetensors`; raises `OSError` if it cannot be read and `ValueError` if it is damaged."""
        try:
            tensors = load_file(folder / LEARNED)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        photos = tensors.get(_PHOTOS)
        if tensors.keys() != {_PHOTOS} or photos is None or photos.dtype != np.uint64 or photos.ndim != 1:
            found = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in sorted(tensors.items()))
            raise ValueError(f"expected {_PHOTOS} uint64[N], got {found or 'nothing'}")
        return cls(photos)


def _first_bits(digests: Iterable[str]) -> NDArray[np.uint64]:
    return np.array([int(digest[:_HEX], 16) for digest in digests], dtype=np.uint64)
