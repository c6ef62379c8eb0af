"""Ingest: read and check a feed, open every photo, group products, and write a catalog."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from attire.catalog.changes import Earlier
from attire.catalog.check import CheckedProduct, Problem, check, summarise
from attire.catalog.duplicates import near_duplicates, tie
from attire.catalog.feed_row import Row
from attire.catalog.photo_facts import Facts, PhotoFacts
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.store import TABLES, TAXONOMY, Catalog, read_manifest, write_catalog
from attire.catalog.taxonomy_draft import draft_taxonomy
from attire.errors import CatalogError, ConfigError, FeedError, PhotoError, did_you_mean
from attire.files import LockedError, locked, read_parquet
from attire.photos.index import PhotoIndex, find_photos, remove_unlisted
from attire.photos.remote import is_url
from attire.storage import not_written
from attire.taxonomy import Taxonomy

PHOTOS, WORK, LOCK = "photos", ".work", ".lock"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaxonomyChoice:
    """The taxonomy to check a feed against: given by the user, edited by hand, or drafted from the feed."""

    taxonomy: Taxonomy
    toml: str
    drafted: bool


def ingest(
    feed: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    source: str = "table",
    taxonomy: str | Path | None = None,
    options: SourceOptions | None = None,
    bad_rows: Literal["refuse", "quarantine"] = "refuse",
    replace: bool = False,
) -> Catalog:
    """Read `feed`, open its photos in `images` (folders, tar and zip archives) and write a catalog to `out`.

    Without `taxonomy`, one is drafted from the feed into `out`/taxonomy.toml; if you edit that file, later calls use
    your version. Photos that cannot be used are listed in the quarantine with the reason, and never replaced.

    An existing catalog in `out` is updated to the current feed and taxonomy, and only new or changed photos are opened.
    Products may be added and changed. Without `replace`, these feeds are refused: one that lacks a product of the
    catalog, and a different file that has none of the photos that the catalog has for a product, since it probably uses
    the id for another product.

    Raises `FeedError` with every bad row (or quarantines them, with `bad_rows="quarantine"`), `TaxonomyError` for an
    invalid taxonomy, and `CatalogError` if a feed is refused, photos cannot be searched, `out` cannot be written, or
    another process is writing it.
    """
    out, folders = Path(out).absolute(), [images] if isinstance(images, str | Path) else images
    if source not in SOURCES:
        raise ConfigError(f"'{source}' is not a source ({', '.join(SOURCES)}){did_you_mean(source, SOURCES)}")
    for path in (feed, *folders):
        if is_url(path):
            raise ConfigError(
                f"{path} is an address, and ingest reads files, folders and archives on this machine: download it "
                "first. (attire predict reads addresses.)"
            )
    rows = list(SOURCES[source](Path(feed), options or SourceOptions()))
    choice = _load_or_draft(rows, taxonomy, out, feed)
    checked = check(rows, choice.taxonomy)
    if checked.problems and bad_rows == "refuse":
        count = len(checked.problems)
        raise FeedError(
            f"{feed}: {count:,} {'problem' if count == 1 else 'problems'}; nothing was written.\n"
            f"{summarise(checked.problems)}\n"
            "Fix the feed or the taxonomy, or leave those rows out with --bad-rows quarantine.",
            [str(problem) for problem in checked.problems],
        )
    products = sorted(checked.products, key=lambda product: product.id)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK):
            earlier, labels = Earlier.read(out), _labels(products)
            if earlier is not None:
                stated = [(product.id, product.category, product.title) for product in products]
                changes = earlier.changes(stated, labels, {row.id for row in rows})
                if not replace:
                    earlier.refuse_lost(feed, changes)
            index = find_photos(folders, out / PHOTOS)
            facts = PhotoFacts(out / WORK, _known(out / "photos.parquet"))
            tables = {**_tables(products, checked.problems, index, facts, out), "labels": labels}
            if earlier is not None:
                if not replace:
                    earlier.refuse_mistaken(feed, tables)
                logger.info("%s: products %s", out, changes)
            provenance = {
                "feed": str(Path(feed).absolute()),
                "source": source,
                "images": [str(folder) for folder in folders],
                "drafted_taxonomy": choice.taxonomy.digest if choice.drafted else None,
                "unused_photos": len(index) - len(tables["photos"]),
                "stray_labels": dict(checked.stray),
            }
            catalog = write_catalog(out, choice.taxonomy, choice.toml, tables, provenance)
            facts.forget()
            remove_unlisted(out / PHOTOS, index)
            return catalog
    except LockedError:
        raise CatalogError(f"another attire ingest is writing {out}: wait until it has finished.") from None
    except OSError as error:
        raise CatalogError(not_written(f"the catalog {out}", error)) from error


def _load_or_draft(rows: Sequence[Row], given: str | Path | None, out: Path, feed: str | Path) -> TaxonomyChoice:
    draft_path = out / TAXONOMY
    path = Path(given) if given is not None else draft_path if _is_edited(draft_path) else None
    if path is not None:
        return TaxonomyChoice(Taxonomy.load(path), path.read_text(encoding="utf-8"), drafted=False)
    draft = draft_taxonomy(rows)
    if draft.unlabelled:
        logger.info("%s: keys without any label are left out: %s", feed, ", ".join(draft.unlabelled))
    heading = (
        f"Drafted by attire from {Path(feed).name}. Edit it (aliases, titles, where a key applies), then ingest again."
    )
    return TaxonomyChoice(draft.taxonomy, draft.taxonomy.to_toml(heading, draft.counts), drafted=True)


def _is_edited(path: Path) -> bool:
    """Whether there is a taxonomy at `path` that differs from the draft of an earlier ingest."""
    manifest = read_manifest(path.parent)
    return path.is_file() and (
        manifest is None or manifest.source.get("drafted_taxonomy") != Taxonomy.load(path).digest
    )


def _known(table: Path) -> pl.DataFrame | None:
    """The photo facts of an earlier ingest; None if they cannot be read."""
    try:
        known = read_parquet(table)
    except (OSError, pl.exceptions.PolarsError):
        return None
    return known if known.schema == TABLES["photos"] else None


def _labels(products: Iterable[CheckedProduct]) -> pl.DataFrame:
    labels = ((p.id, key, value) for p in products for key, values in p.labels.items() for value in values)
    return pl.DataFrame(list(labels), TABLES["labels"], orient="row")


def _tables(
    products: Sequence[CheckedProduct], problems: Iterable[Problem], index: PhotoIndex, known: PhotoFacts, out: Path
) -> dict[str, pl.DataFrame]:
    """All tables except the labels; `products` are sorted by id."""
    files, faults = _look_up(products, index)
    facts, unreadable = known.gather(files, out)
    faults |= unreadable
    readable = {fact["name"] for fact in facts}
    images = [[name for name in product.images if name in readable] for product in products]
    quarantine: list[dict[str, Any]] = [
        {"kind": "row", "row": problem.row, "reason": problem.message} for problem in problems
    ]
    for product, names in zip(products, images, strict=True):
        quarantine += [
            {"kind": "photo", "id": product.id, "name": name, "row": product.row, "reason": faults[name]}
            for name in product.images
            if name in faults
        ]
        if not names:
            quarantine.append({"kind": "product", "id": product.id, "row": product.row, "reason": "no readable photo"})
    contents: dict[str, list[Any]] = {
        "products": [
            {"id": p.id, "group": group, "category": p.category, "title": p.title, "images": names}
            for p, group, names in zip(products, _groups(products, images, facts), images, strict=True)
        ],
        "photos": sorted(facts, key=lambda fact: str(fact["name"])),
        "quarantine": quarantine,
    }
    return {name: pl.DataFrame(rows, schema=TABLES[name]) for name, rows in contents.items()}


def _look_up(products: Iterable[CheckedProduct], index: PhotoIndex) -> tuple[dict[str, Path], dict[str, str]]:
    """The file of each photo in the feed that can be found, and the fault of each other photo."""
    files, faults = {}, {}
    for name in dict.fromkeys(name for product in products for name in product.images):
        try:
            files[name] = index[name]
        except PhotoError as error:
            faults[name] = str(error)
    return files, faults


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
