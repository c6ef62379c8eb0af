"""Photos as vectors whose inner product says how alike a bundle finds them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from attire.bundle import ModelBundle
from attire.errors import ConfigError
from attire.model.colour import COLOURS

COLOUR = 0.5  # weight of the colours beside the rest; chosen on val (docs/experiments.md)
BATCH = 4096  # photos


def require_vectors(bundle: ModelBundle) -> None:
    """Raise `ConfigError` for a bundle whose heads look at positions (csra): it has no single vector for a photo."""
    if bundle.spec.network.spatial:
        raise ConfigError(
            f"{bundle.path} has csra heads, which look at positions of a photo, so it cannot say which photos are "
            "alike. Use a bundle with linear or mlp heads."
        )


def photo_vectors(bundle: ModelBundle, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors float32[N, D] of photos from the features of the bundle's network, float32[N, F].

    What the last layers see: the output of the trunk (the features themselves without one), then that of the colour
    branch's hidden layer, each at unit length. The network has learned which differences matter for the labels.
    """
    return cached_vectors(bundle, features, np.arange(len(features)))


def cached_vectors(bundle: ModelBundle, features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """`photo_vectors` of some rows of features that may be mapped from a file, without a copy of all of them."""
    blocks = [rows[start : start + BATCH] for start in range(0, max(1, len(rows)), BATCH)]
    return np.concatenate([_vectors(bundle, features[block]) for block in blocks])


def _vectors(bundle: ModelBundle, features: NDArray[np.float32]) -> NDArray[np.float32]:
    network = bundle.placed_network
    photos = torch.from_numpy(np.array(features, dtype=np.float32)).to(next(network.parameters()).device)
    with torch.no_grad():
        if network.heads.colour is None:
            vectors = network.heads.joined(photos)
        else:
            joined = network.heads.joined(photos[:, :-COLOURS])
            colours = network.heads.colour.hidden(photos[:, -COLOURS:])
            vectors = torch.cat([F.normalize(joined), COLOUR * F.normalize(colours)], dim=1)
        return np.asarray(F.normalize(vectors).cpu().numpy())
