"""Make the tables of a catalog: photos are opened, or taken over from an earlier catalog, and products are grouped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.check import Problem
from attire.catalog.content import PRODUCTS, Content
from attire.catalog.downloads import Downloads
from attire.catalog.duplicates import near_duplicates, tie
from attire.catalog.photo_facts import Facts, PhotoFacts
from attire.catalog.row_words import CheckedProduct
from attire.catalog.store import TABLES
from attire.errors import PhotoError, PhotoMissingError
from attire.photos.lookup import PhotoLookup
from attire.photos.remote import RemotePhoto, is_url


@dataclass(frozen=True, slots=True)
class KeptPhotos:
    """Photos that are taken over from an earlier catalog without opening them again.

    `facts` by name, `faults` by product id and name, and the earlier photos of each product. Those of the products in
    `ids` are kept; another product keeps a photo if the feed names it again and it is not in --images any more.
    """

    facts: Mapping[str, Facts] = field(default_factory=dict)
    faults: Mapping[tuple[str, str], str] = field(default_factory=dict)
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Photos:
    """Facts of usable photos, sorted by name, and the faults of others by product id and name."""

    facts: list[Facts]
    faults: dict[tuple[str, str], str]


def make_tables(
    products: Sequence[CheckedProduct],
    problems: Iterable[Problem],
    find: PhotoLookup,
    downloads: Downloads,
    opener: PhotoFacts,
    out: Path,
    kept: KeptPhotos,
) -> dict[str, pl.DataFrame]:
    """All tables of the catalog `out` except the labels; `products` are sorted by id."""
    photos = _gather(products, find, downloads, opener, out, kept)
    images = [[name for name in product.images if (product.id, name) not in photos.faults] for product in products]
    quarantine: list[dict[str, Any]] = [
        {"kind": "row", "row": problem.row, "reason": problem.message} for problem in problems
    ]
    for product, names in zip(products, images, strict=True):
        quarantine += [
            {"kind": "photo", "id": product.id, "name": name, "row": product.row, "reason": reason}
            for name in product.images
            if (reason := photos.faults.get((product.id, name)))
        ]
        if not names:
            quarantine.append({"kind": "product", "id": product.id, "row": product.row, "reason": "no readable photo"})
    contents: dict[str, list[Any]] = {
        "products": [
            {"id": p.id, "group": group, "category": p.category, "title": p.title, "images": names}
            for p, group, names in zip(products, _groups(products, images, photos.facts), images, strict=True)
        ],
        "photos": photos.facts,
        "quarantine": quarantine,
    }
    return {name: pl.DataFrame(rows, schema=TABLES[name]) for name, rows in contents.items()}


def stated(products: Sequence[CheckedProduct]) -> Content:
    """The content of the products, without the origins of labels."""
    labels = ((p.id, key, value) for p in products for key, values in p.labels.items() for value in values)
    cells = [(p.id, p.category, p.title, p.group, list(p.images), [*_pairs(p)]) for p in products]
    return Content(
        pl.DataFrame(cells, PRODUCTS, orient="row"), pl.DataFrame(list(labels), TABLES["labels"], orient="row")
    )


def _pairs(product: CheckedProduct) -> Iterator[dict[str, str]]:
    """The words that are no labels, so that they count as soon as the taxonomy has them."""
    fields = chain(product.unresolved.items(), product.retired.items())
    return ({"key": key, "word": word} for key, words in fields for word in words)


def _gather(
    products: Sequence[CheckedProduct],
    find: PhotoLookup,
    downloads: Downloads,
    opener: PhotoFacts,
    out: Path,
    kept: KeptPhotos,
) -> _Photos:
    """Find and open the photos that the feed names, and take over the others, except those at URLs that failed."""
    named = [product for product in products if product.id not in kept.ids]
    failed = [name for id, name in kept.faults if id in kept.ids and is_url(name)]
    files: dict[str, Path] = {}
    remote: dict[str, RemotePhoto] = {}
    errors: dict[str, PhotoError] = {}
    for name in dict.fromkeys([*(name for product in named for name in product.images), *failed]):
        try:
            photo = find(name)
        except PhotoError as error:
            errors[name] = error
            continue
        if isinstance(photo, RemotePhoto):
            remote[name] = photo
        else:
            files[name] = photo
    downloaded, undelivered = downloads.gather(remote)
    files |= downloaded
    errors |= undelivered
    missing = {name: str(error) for name, error in errors.items() if isinstance(error, PhotoMissingError)}
    unusable = {name: str(error) for name, error in errors.items() if name not in missing}
    opened, unreadable = opener.gather(files, out)
    facts = {str(fact["name"]): fact for fact in opened}
    unusable |= unreadable
    faults: dict[tuple[str, str], str] = {}
    taken_over: dict[str, Facts] = {}
    for product in products:
        for name in product.images:
            is_kept = product.id in kept.ids or (name in missing and name in kept.images.get(product.id, ()))
            if is_kept and name in kept.facts:
                taken_over[name] = kept.facts[name]
            elif is_kept and not is_url(name):
                faults[product.id, name] = kept.faults.get((product.id, name), "could not be used before")
            elif name not in facts:
                faults[product.id, name] = missing.get(name) or unusable[name]
    for name in facts.keys() & taken_over.keys():
        if is_url(name):  # has one content for all products, the newest
            continue
        new, before = facts[name], taken_over[name]
        if before["path"] != new["path"] and before["sha256"] != new["sha256"]:
            reason = f"the catalog has another photo of this name ({before['path']}): give more of the path in the feed"
            faults |= {(p.id, name): reason for p in named if name in p.images}
            del facts[name]
    facts = taken_over | facts
    return _Photos([facts[name] for name in sorted(facts)], faults)


def _groups(products: Sequence[CheckedProduct], images: Sequence[Sequence[str]], facts: Sequence[Facts]) -> list[str]:
    """The group of each product: the smallest id of those that share a feed group or a (near-duplicate) photo."""
    owners: Mapping[str, list[int]] = defaultdict(list)
    for row, (product, names) in enumerate(zip(products, images, strict=True)):
        if product.group:
            owners[f"group {product.group}"].append(row)
        for name in names:
            owners[f"photo {name}"].append(row)
    for fact in facts:
        owners[f"bytes {fact['sha256']}"].extend(owners[f"photo {fact['name']}"])
    links = [(rows[0], other) for rows in owners.values() for other in rows[1:]]
    pairs = near_duplicates([fact["phash"] for fact in facts], [fact["thumb"] for fact in facts])
    for left, right in pairs.tolist():
        links.append((owners[f"photo {facts[left]['name']}"][0], owners[f"photo {facts[right]['name']}"][0]))
    return [products[root].id for root in tie(len(products), links).tolist()]
