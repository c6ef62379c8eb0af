"""Embeddings of a catalog's photos by a frozen backbone, computed once and cached in the catalog."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from attire.catalog.store import Catalog
from attire.labels import Targets
from attire.model.backbone import fastest_precision, weights_digest
from attire.model.network import Network
from attire.pixels.augment import AUGMENTS
from attire.pixels.dataset import DrawSampler, PhotoDataset, PhotoFiles
from attire.pixels.embedding_cache import EmbeddingCache
from attire.pixels.normalise import Normalise
from attire.pixels.preprocess import Preprocess
from attire.progress import tracking

BATCH = 32


def catalog_embeddings(
    catalog: Catalog, network: Network, name: str, preprocess: Preprocess, workers: int
) -> NDArray[np.float32]:
    """float32[N, F]: the network's features of all photos of all products, in order.

    `name` is the backbone's timm name.
    """
    cache = EmbeddingCache(catalog, f"{name} {weights_digest(network.backbone)} flip={network.flip}", preprocess)
    paths = [path for views in catalog.photo_paths() for path in views]
    embeddings = cache.read(len(paths))
    if embeddings is not None:
        return embeddings
    no_targets = Targets(*(np.zeros((len(paths), 0), dtype) for dtype in (np.int64, np.bool_, np.int8)))
    examples = PhotoDataset(
        PhotoFiles(paths, preprocess.size_px), [1] * len(paths), no_targets, preprocess, AUGMENTS["none"](preprocess)
    )
    loader = DataLoader(examples, BATCH, sampler=DrawSampler(len(examples), None), num_workers=workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.backbone.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    normalise = Normalise(preprocess).to(device)
    rows = []
    half = torch.autocast(device.type, torch.bfloat16, enabled=fastest_precision() == "bf16-mixed")
    with torch.inference_mode(), half, tracking(f"embedding with {name}", len(paths), "photos") as tracker:
        for pixels, _ in loader:
            batch = normalise(pixels.to(device, memory_format=torch.channels_last))
            rows.append(network.features(batch).float().cpu().numpy())
            tracker.advance(len(pixels))
    cache.write(np.concatenate(rows))
    embeddings = cache.read(len(paths))
    assert embeddings is not None
    return embeddings
