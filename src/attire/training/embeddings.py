"""Embeddings of a catalog's photos by a frozen backbone, computed once for each photo and cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from attire.catalog.store import Catalog
from attire.labels import Targets
from attire.model.backbone import fastest_precision, weights_digest
from attire.model.colour import VERSION as COLOUR_VERSION
from attire.model.network import Network
from attire.pixels.augment import AUGMENTS
from attire.pixels.content_cache import cache_folder
from attire.pixels.dataset import DrawSampler, IngestedFiles, PhotoDataset
from attire.pixels.embedding_cache import EmbeddingCache, cache_embeddings
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
    identity = {
        "backbone": name,
        "weights": weights_digest(network.backbone),
        "flip": network.flip,
        "preprocess": preprocess.model_dump(mode="json"),
        **({} if network.colours is None else {"colours": COLOUR_VERSION}),
    }
    photos = [photo for views in catalog.photo_digests() for photo in views]
    path_of = dict(zip(photos, (path for views in catalog.photo_paths() for path in views), strict=True))

    def embed(new: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        files = IngestedFiles([path_of[photo] for photo in new], new, preprocess.size_px)
        with tracking(f"embedding with {name}", len(path_of), "photos", done=len(path_of) - len(new)) as tracker:
            for batch in _embedded(network, files, len(new), preprocess, workers):
                yield batch
                tracker.advance(len(batch))

    return cache_embeddings(cache_folder(catalog), identity, photos, embed)


def _embedded(
    network: Network, files: IngestedFiles, count: int, preprocess: Preprocess, workers: int
) -> Iterator[NDArray[np.float32]]:
    """Batches float32[B, F] of the network's features of the photos, in order."""
    no_targets = Targets(*(np.zeros((count, 0), dtype) for dtype in (np.int64, np.bool_, np.int8)))
    examples = PhotoDataset(files, [1] * count, no_targets, preprocess, AUGMENTS["none"](preprocess))
    loader = DataLoader(examples, BATCH, sampler=DrawSampler(count, None), num_workers=workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.backbone.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    normalise = Normalise(preprocess).to(device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=fastest_precision() == "bf16-mixed")
    for pixels, _ in loader:
        with torch.inference_mode(), half:
            batch = normalise(pixels.to(device, memory_format=torch.channels_last))
            features = network.features(batch).float().cpu().numpy()
        yield features
