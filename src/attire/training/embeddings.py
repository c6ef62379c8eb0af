"""Embeddings of a catalog's photos by what is frozen of a network, computed once for each photo and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from attire.catalog.store import Catalog
from attire.labels import Targets
from attire.model.backbone import fastest_precision, weights_digest
from attire.model.colour import VERSION as COLOURS
from attire.model.last_stages import FirstStages
from attire.model.network import Network
from attire.pixels.augment import AUGMENTS
from attire.pixels.content_cache import cache_folder
from attire.pixels.dataset import Draw, IngestedFiles, PhotoDataset
from attire.pixels.embedding_cache import FLOAT16, FLOAT32, EmbeddingCache, cache_embeddings
from attire.pixels.normalise import Normalise
from attire.pixels.preprocess import Preprocess
from attire.progress import tracking

BATCH = 32  # divides the cache's chunks, so that a resumed run has the same batches as an uninterrupted one


def catalog_embeddings(
    catalog: Catalog, network: Network, name: str, preprocess: Preprocess, workers: int
) -> EmbeddingCache:
    """The network's features of all photos of the catalog, by their SHA-256; only new photos are computed.

    `name` is the backbone's timm name. New photos are computed in the order of the products, in batches of `BATCH`.
    The last bits of an embedding may depend on the other photos of its batch, and more on the machine (bf16), so a
    cache that grew may differ by that much from one that is computed at once.
    """
    photos = _Photos(catalog, preprocess, workers)
    identity = _identity(network, name, preprocess) | {"flip": network.flip}
    return photos.cached(_Features(network), identity, f"embedding with {name}", FLOAT32)


def catalog_views(
    catalog: Catalog, network: Network, name: str, preprocess: Preprocess, workers: int, trained: int, augmented: int
) -> list[EmbeddingCache]:
    """What `FirstStages` makes of views of all photos: as they are, mirrored, and `augmented` times augmented (light).

    Cached as float16. Arguments are as in `catalog_embeddings`; `trained` is the number of the last stages.
    """
    photos = _Photos(catalog, preprocess, workers)
    identity = _identity(network, name, preprocess) | {"trained_stages": trained}
    views = ["plain", "mirrored", *(f"light {number}" for number in range(1, augmented + 1))]
    return [
        photos.cached(
            FirstStages(network, trained), identity | {"view": view}, f"view {number} of {len(views)}", FLOAT16, view
        )
        for number, view in enumerate(views, 1)
    ]


def _identity(network: Network, name: str, preprocess: Preprocess) -> dict[str, Any]:
    """What decides the output of a frozen network, but for what part of it is used."""
    return {
        "backbone": name,
        "weights": weights_digest(network.backbone),
        "preprocess": preprocess.model_dump(mode="json"),
        **({} if network.colours is None else {"colours": COLOURS}),
    }


class _Features(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network.features(pixels)


class _Photos:
    """The photos of a catalog."""

    def __init__(self, catalog: Catalog, preprocess: Preprocess, workers: int) -> None:
        self.catalog, self.preprocess, self.workers = catalog, preprocess, workers
        self.sha256 = [photo for views in catalog.photo_digests() for photo in views]
        self.path_of = dict(zip(self.sha256, (p for views in catalog.photo_paths() for p in views), strict=True))

    def cached(
        self, network: nn.Module, identity: dict[str, Any], title: str, dtype: str, view: str = "plain"
    ) -> EmbeddingCache:
        """The output of `network` for a view of all photos; only new photos are computed."""

        def embed(new: Sequence[str]) -> Iterator[NDArray[np.float32]]:
            with tracking(title, len(self.path_of), "photos", done=len(self.path_of) - len(new)) as tracker:
                for batch in self._embedded(network, new, view):
                    yield batch
                    tracker.advance(len(batch))

        return cache_embeddings(cache_folder(self.catalog), identity, self.sha256, embed, dtype)

    def _embedded(self, network: nn.Module, photos: Sequence[str], view: str) -> Iterator[NDArray[np.float32]]:
        """Batches float32[B, F] of the network's output for a view of the photos, in order."""
        files = IngestedFiles([self.path_of[photo] for photo in photos], photos, self.preprocess.size_px)
        no_targets = Targets(*(np.zeros((len(photos), 0), dtype) for dtype in (np.int64, np.bool_, np.int8)))
        examples = PhotoDataset(
            files, [1] * len(photos), no_targets, self.preprocess, AUGMENTS["light"](self.preprocess)
        )
        random = view not in ("plain", "mirrored")
        draws = [Draw(i, _seed(photo, view) if random else None) for i, photo in enumerate(photos)]
        loader = DataLoader(examples, BATCH, sampler=draws, num_workers=self.workers)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        normalise = Normalise(self.preprocess).to(device)
        half = torch.autocast(device.type, torch.bfloat16, enabled=fastest_precision() == "bf16-mixed")
        for pixels, _ in loader:
            with torch.inference_mode(), half:
                batch = normalise(pixels.to(device, memory_format=torch.channels_last))
                yield network(batch.flip(3) if view == "mirrored" else batch).float().cpu().numpy()


def _seed(photo: str, view: str) -> int:
    """The seed of a photo's augmentation, by its content, so that a cache is the same in whatever order it grew."""
    return int(hashlib.sha256(f"{photo} {view}".encode()).hexdigest()[:7], 16)
