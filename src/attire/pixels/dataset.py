"""Datasets of training examples: one photo (or cached embedding) of each product per epoch, with its targets.

Randomness depends only on (seed, epoch, product), and on the repetition if a product is drawn several times per epoch.
So neither the number of workers nor resuming a run changes the examples.
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
from attire.pixels.embedding_cache import EmbeddingCache
from attire.pixels.photo_cache import CachedPhotos, open_ingested
from attire.pixels.preprocess import Preprocess


class Draw(NamedTuple):
    """A product to load, and the seed of its photo choice and augmentation; None: the first photo, not augmented."""

    product: int
    seed: int | None


class DrawSampler(Sampler[Draw]):
    """The draws of one process: every product once per epoch, shuffled and divided evenly over `world` processes.

    All processes get equally many draws (padded from the front), as DDP requires. With `seed=None` the order is fixed
    and nothing is random. `expected` (float64[size], 1 on average) is how often each product is drawn per epoch, each
    time with another seed.
    """

    def __init__(
        self, size: int, seed: int | None, rank: int = 0, world: int = 1, expected: NDArray[np.float64] | None = None
    ) -> None:
        self.size, self.seed, self.rank, self.world, self.expected = size, seed, rank, world, expected
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each epoch."""
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
        places = np.resize(np.arange(self.size), len(self) * self.world)[self.rank :: self.world]
        for product, repetition in np.stack([order, _repetitions(order)])[:, places].T.tolist():
            state = (self.seed, self.epoch, product, repetition) if repetition else (self.seed, self.epoch, product)
            yield Draw(product, None if self.seed is None else hash(state) & 0x7FFFFFFF)


def _systematic(expected: NDArray[np.float64], start: float) -> NDArray[np.int64]:
    """int64[N]: indices, each as often as `expected` rounded down or up, and exactly as often on average.

    Systematic sampling: N points at distance 1 on a line where each index has its expected count as length. Drawing
    with replacement would leave out a third of the products even if all are expected once.
    """
    points = start + np.arange(len(expected))
    return np.searchsorted(np.cumsum(expected), points, side="right").clip(max=len(expected) - 1)


def _repetitions(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[N]: for each place in `order`, how often the same product occurs before it."""
    places = np.argsort(order, kind="stable")
    repetitions = np.empty_like(order)
    repetitions[places] = np.arange(len(order)) - np.searchsorted(order[places], order[places])
    return repetitions


Example = tuple[Tensor, Targets] | tuple[Tensor, Targets, Tensor]


class _Products(Dataset[Example]):
    """Base class of the datasets below: the views of all products end to end, the targets, and the titles.

    `text` is int32[N, T], the titles as `TitleReader` encodes them; with None, examples have no third element.
    """

    def __init__(self, counts: Sequence[int], targets: Targets, text: NDArray[np.int32] | None) -> None:
        if 0 in counts:
            raise ValueError("a product without a photo cannot be an example: leave it out")
        self.stops = np.cumsum(counts)
        self.counts = np.asarray(counts)
        self.targets = Targets(*(torch.from_numpy(np.ascontiguousarray(t)) for t in targets))
        self.text = None if text is None else torch.from_numpy(text)

    def __len__(self) -> int:
        return len(self.counts)

    def _view(self, draw: Draw) -> int:
        """The index of the drawn view among all views."""
        product, seed = draw
        return int(self.stops[product] - self.counts[product] + (0 if seed is None else seed % self.counts[product]))

    def _example(self, inputs: Tensor, product: int) -> Example:
        targets = Targets(*(t[product] for t in self.targets))
        return (inputs, targets) if self.text is None else (inputs, targets, self.text[product])


class PhotoFiles:
    """Photos decoded from files, at a reduced scale where a network of `size_px` allows it."""

    def __init__(self, paths: Sequence[Path], size_px: tuple[int, int]) -> None:
        # One numpy array instead of many str objects, because forked workers copy every page with a reference count.
        self.paths, self.size_px = np.array([str(path).encode() for path in paths]), size_px

    def __getitem__(self, view: int) -> Image.Image:
        """Decode a photo; raises `PhotoError` with its name if it has become unreadable since ingest."""
        path = self.paths[view].decode()
        try:
            return open_photo(Path(path), target_px=self.size_px)
        except PhotoError as error:
            raise PhotoError(f"{path}: {error}. It was readable at ingest; run attire ingest again.") from None


class IngestedFiles(PhotoFiles):
    """Photos for results that are kept by content, so one that was changed after ingest is refused."""

    def __init__(self, paths: Sequence[Path], sha256: Sequence[str], size_px: tuple[int, int]) -> None:
        super().__init__(paths, size_px)
        self.sha256 = np.array(sha256, "S64")

    def __getitem__(self, view: int) -> Image.Image:
        """Decode a photo; raises `CatalogError` if it has changed or become unreadable since ingest."""
        return open_ingested(Path(self.paths[view].decode()), self.sha256[view].decode(), self.size_px)


class PhotoDataset(_Products):
    """Examples from photos: uint8[3, H, W] (input of `Normalise`), and the `Targets` (and title) of one product.

    `photos` are the photos of all products end to end, `counts` the number per product.
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


class CachedViews(_Products):
    """Examples from cached views of the photos: one of them as floats [R], and the `Targets` (and title) of a product.

    views: the caches of the photos as they are, of their mirror images, and of augmented ones. An example that is not
    drawn at random has the first two: floats [2, R].
    """

    def __init__(
        self,
        views: Sequence[EmbeddingCache],
        sha256: Sequence[str],
        counts: Sequence[int],
        targets: Targets,
        text: NDArray[np.int32] | None = None,
    ) -> None:
        """`sha256` are the photos of all products end to end, `counts` the number per product."""
        super().__init__(counts, targets, text)
        self.views = [(view.embeddings, view.rows(sha256)) for view in views]

    def __getitem__(self, draw: Draw) -> Example:
        photo = self._view(draw)
        if draw.seed is None:
            both = np.stack([embeddings[rows[photo]] for embeddings, rows in self.views[:2]])
            return self._example(torch.from_numpy(both), draw.product)
        count = int(self.counts[draw.product])
        embeddings, rows = self.views[draw.seed // count % len(self.views)]
        return self._example(torch.from_numpy(embeddings[rows[photo]].copy()), draw.product)


class EmbeddingDataset(_Products):
    """Examples from cached embeddings: float32[F], and the `Targets` (and title) of one product."""

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
