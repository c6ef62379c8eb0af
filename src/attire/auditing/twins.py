"""Products with the same or nearly the same photo: labels that contradict each other cannot both be right."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.catalog.duplicates import near_duplicates
from attire.catalog.store import Catalog


def twins(catalog: Catalog) -> NDArray[np.int64]:
    """int64[P, 2]: pairs of products (rows of the catalog) whose first photos are the same or nearly the same.

    Later photos are not compared: many products share a size chart. Of many products with one and the same file, each
    is paired with the next one.
    """
    firsts = (
        catalog.products.with_row_index("product")
        .select("product", name=pl.col("images").list.first())
        .drop_nulls()
        .join(catalog.photos.select("name", "sha256", "phash", "thumb"), on="name", maintain_order="left")
    )
    products = firsts["product"].to_numpy().astype(np.int64)
    near = products[near_duplicates(firsts["phash"].to_list(), firsts["thumb"].to_list())]
    of_file: dict[str, list[int]] = defaultdict(list)
    for product, digest in zip(products.tolist(), firsts["sha256"], strict=True):
        of_file[digest].append(product)
    same = [pair for rows in of_file.values() for pair in pairwise(rows)]
    pairs = np.concatenate([near, np.array(same, dtype=np.int64).reshape(-1, 2)])
    return np.unique(np.sort(pairs, axis=1), axis=0)
