"""The products of a catalog that a model has seen, or another product of their group."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.catalog.store import Catalog
from attire.learned import Learned


def in_learned_groups(catalog: Catalog, learned: Learned) -> NDArray[np.bool_]:
    """bool[N], in the order of `catalog.ids`: the products of groups with a photo that the model learned from.

    The catalog may be another one than the model was trained on, and its groups may have other names and members.
    """
    photos = catalog.photos.select("name", "sha256").filter(pl.Series(learned.has(catalog.photos["sha256"])))
    images = catalog.products.select("group", name="images").explode("name")
    groups = images.join(photos, on="name", how="semi")["group"].unique()
    return catalog.products["group"].is_in(groups.implode()).to_numpy()
