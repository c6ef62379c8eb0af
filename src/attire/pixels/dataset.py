"""Products as training examples: one photo (or cached embedding) of a product per epoch, with its targets.

Randomness is a function of (seed, epoch, product) alone, so that neither the number of workers nor a resumed run
changes what is drawn; where a product comes several times in an epoch, of which time it is, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from attire.errors import PhotoError
from attire.labels import Targets
from attire.photos.image import open_photo
from attire.pixels.augment import Augment
from attire.pixels.photo_cache import CachedPhotos
from attire.pixels.preprocess import Preprocess


class Draw(NamedTuple):
    """Which product to load, and the seed of its randomness; `None`: the first photo, not augmented."""

    product: int
    seed: int | None


class DrawSampler(Sampler[Draw]):
    """Draws of one process: every product once per epoch, shuffled and split evenly over `world` processes.

    Each process gets as many draws as any other (the last ones are filled from the front), as DDP requires. With
    `seed=None` the order is fixed and nothing is random. With `expected` (float64[size], 1 on average) a product comes
    as often as that in an epoch, each time with another seed.
    """

    def __init__(
        self, size: int, seed: int | None, rank: int = 0, world: int = 1, expected: NDArray[np.float64] | None = None
    ) -> None:
        self.size, self.seed, self.rank, self.world, self.expected = size, seed, rank, world, expected
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.world)

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(self.size)
        if self.seed is not None:
            random = np.random.default_rng((self.seed, self.epoch))
            order = random.permutation(self.size)
            if self.expected is not None:
                order = random.permutation(order[_systematic(self.expected[order], random.random())])
        own = np.resize(np.arange(self.size), len(self) * self.world)[self.rank :: self.world]
        for product, before in np.stack([order, _drawn_before(order)])[:, own].T.tolist():
            content = (self.seed, self.epoch, product, before) if before else (self.seed, self.epoch, product)
            yield Draw(product, None if self.seed is None else hash(content) & 0x7FFFFFFF)


def _systematic(expected: NDArray[np.float64], start: float) -> NDArray[np.int64]:
    """int64[N]: positions, each as often as `expected` rounded down or up, and on average exactly so.

    Systematic sampling: N points at distance 1 on a line where each position is as long as it is expected. Drawing
    with replacement would leave out a third of the products even where all are expected once.
    """
    points = start + np.arange(len(expected))
    return np.searchsorted(np.cumsum(expected), points, side="right").clip(max=len(expected) - 1)


def _drawn_before(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[N]: of each place in `order`, in how many places before it the same product stands."""
    places = np.argsort(order, kind="stable")
    before = np.empty_like(order)
    before[places] = np.arange(len(order)) - np.searchsorted(order[places], order[places])
    return before


Example = tuple[Tensor, Targets] | tuple[Tensor, Targets, Tensor]


class _Products(Dataset[Example]):
    """What the datasets below share: several views of each product laid end to end, the targets, and titles.

    `text` is int32[N, T], the title of each product as `TitleReader` gives it; with None examples have no third part.
    """

    def __init__(self, counts: Sequence[int], targets: Targets, text: NDArray[np.int32] | None) -> None:
        if 0 in counts:
            raise ValueError("a product without a photo cannot be an example; leave it out")
        self.stops = np.cumsum(counts)
        self.counts = np.asarray(counts)
        self.targets = Targets(*(torch.from_numpy(np.ascontiguousarray(t)) for t in targets))
        self.text = None if text is None else torch.from_numpy(text)

    def __len__(self) -> int:
        return len(self.counts)

    def _view(self, draw: Draw) -> int:
        """The position of the drawn view among all views."""
        product, seed = draw
        return int(self.stops[product] - self.counts[product] + (0 if seed is None else seed % self.counts[product]))

    def _example(self, inputs: Tensor, product: int) -> Example:
        targets = Targets(*(t[product] for t in self.targets))
        return (inputs, targets) if self.text is None else (inputs, targets, self.text[product])


class PhotoFiles:
    """Photos decoded from their files, each no larger than a network of `size_px` needs it."""

    def __init__(self, paths: Sequence[Path], size_px: tuple[int, int]) -> None:
        # One numpy array instead of many str objects: forked workers would copy every page that holds a refcount.
        self.paths, self.size_px = np.array([str(path).encode() for path in paths]), size_px

    def __getitem__(self, view: int) -> Image.Image:
        """Raises `PhotoError` with the photo's name if it has become unreadable since ingest."""
        path = self.paths[view].decode()
        try:
            return open_photo(Path(path), target_px=self.size_px)
        except PhotoError as error:
            raise PhotoError(f"{path}: {error}. It was readable at ingest; run attire ingest again.") from None


class PhotoDataset(_Products):
    """Examples from photos: uint8[3, H, W], which `Normalise` takes, and `Targets` (and the title) of one product.

    `photos` are those of all products end to end, `counts` how many each product has.
    """

    def __init__(
        self,
        photos: PhotoFiles | CachedPhotos,
        counts: Sequence[int],
        targets: Targets,
        preprocess: Preprocess,
        augment: Augment,
        text: NDArray[np.int32] | None = None,
    ) -> None:
        super().__init__(counts, targets, text)
        self.photos, self.preprocess, self.augment = photos, preprocess, augment

    def __getitem__(self, draw: Draw) -> Example:
        photo = self.photos[self._view(draw)]
        if draw.seed is None:
            return self._example(torch.from_numpy(self.preprocess.resize(photo)), draw.product)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw.seed)
            return self._example(torch.from_numpy(self.augment(photo)), draw.product)


class EmbeddingDataset(_Products):
    """Examples from cached embeddings: float32[F] and `Targets` (and the title) of one product."""

    def __init__(
        self,
        embeddings: NDArray[np.float32],
        counts: Sequence[int],
        targets: Targets,
        text: NDArray[np.int32] | None = None,
    ) -> None:
        super().__init__(counts, targets, text)
        self.embeddings = torch.from_numpy(embeddings)

    def __getitem__(self, draw: Draw) -> Example:
        return self._example(self.embeddings[self._view(draw)], draw.product)
