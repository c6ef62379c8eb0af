"""Ingest: read and check a feed, open every photo, group products, and write a catalog."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import polars as pl

from attire.catalog.check import Problem, check, check_known, stray_labels, summarise
from attire.catalog.commit import writing
from attire.catalog.content import changes
from attire.catalog.downloads import Downloads
from attire.catalog.drafting_warnings import drafting_warnings, usage_of
from attire.catalog.drafting_warnings import summary as drafting_summary
from attire.catalog.earlier import Earlier
from attire.catalog.feed_row import Row
from attire.catalog.lost_labels import of_retired_words, of_several_values
from attire.catalog.new_words import NEW_WORDS, proposal, summary, to_toml
from attire.catalog.photo_facts import PhotoFacts
from attire.catalog.reviewed import with_reviews
from attire.catalog.row_words import CheckedProduct, UnknownWord
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.store import TABLES, TAXONOMY, Catalog, read_manifest
from attire.catalog.tables import KeptPhotos, make_tables, stated
from attire.catalog.taxonomy_choice import TaxonomyChoice, load_or_draft, load_or_extend
from attire.catalog.update import remaining, updated
from attire.catalog.versions import Origin, history, next_number, removed_before, write_version
from attire.catalog.writing import in_tables, write_catalog
from attire.errors import CatalogError, ConfigError, FeedError, did_you_mean, first_ids
from attire.files import file_sha256, read_parquet, replace_text
from attire.photos.index import remove_unlisted
from attire.photos.lookup import PhotoLookup, no_images
from attire.photos.remote import Remote, is_url
from attire.storage import not_written
from attire.taxonomy import Taxonomy

PHOTOS, WORK = "photos", ".work"
BadRows = Literal["refuse", "quarantine"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intake:
    """What will be in the catalog, sorted by id; which rows will not; and words and photos to treat specially.

    `fed` are the products as this feed alone states them. `several` has the fields (key and id) whose values are no
    label, because the key takes one value by now.
    """

    choice: TaxonomyChoice
    products: list[CheckedProduct]
    problems: list[Problem]
    fed: list[CheckedProduct]
    unknown: set[UnknownWord] = field(default_factory=set)
    several: list[tuple[str, str]] = field(default_factory=list)
    kept: KeptPhotos = field(default_factory=KeptPhotos)


def ingest(
    feed: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    source: str = "table",
    taxonomy: str | Path | Sequence[str | Path] | None = None,
    options: SourceOptions | None = None,
    bad_rows: BadRows = "refuse",
    replace: bool = False,
    update: bool = False,
    refetch: bool = False,
    feed_wins: bool = False,
) -> Catalog:
    """Read `feed`, open its photos and write a catalog to `out`.

    Photos are URLs, or are looked up in `images`: folders, tar and zip archives, and at most one remote folder. A photo
    at a URL is downloaded once, into the catalog. Every call tries those again that failed; `refetch` asks the servers
    for newer versions of all others that the feed names.

    `taxonomy` is a taxonomy.toml, or files of Shopify's published taxonomy: then the part that the feed needs is
    written to `out`/taxonomy.toml, and words that it does not have are left out and listed in `out`/new-words.toml.
    Without `taxonomy`, one is drafted from the feed into `out`/taxonomy.toml; if you edit that file, later calls use
    your version. Photos that cannot be used are listed in the quarantine with the reason, and never replaced.

    An existing catalog in `out` becomes what the feed and the taxonomy say, and only new or changed photos are opened.
    Products may be added and changed. Without `replace`, these feeds are refused: one that lacks a product of the
    catalog, and a different file that has none of the photos that the catalog has for a product, since it probably uses
    the id for another product.

    With `update`, the feed has only what is new: products that it does not name stay as they are, and so does every
    field, category, title, group and list of photos that is blank in the feed. A word that the taxonomy does not have
    is left out and listed in `out`/new-words.toml; a drafted taxonomy that nobody has edited is extended instead.

    Fields that reviewers decided (`apply_reviews`) keep the reviewer's value where the feed states another one, unless
    `feed_wins`; the number of these fields is logged.

    Every call adds a version: see `Catalog.history`. After a kill at any moment the catalog is the old or the new one.

    Raises `FeedError` with every bad row (or quarantines them, with `bad_rows="quarantine"`), `TaxonomyError` for an
    invalid taxonomy, and `CatalogError` if a feed is refused, photos cannot be searched, `out` cannot be written, or
    another process is writing it.
    """
    out, folders = Path(out).absolute(), [images] if isinstance(images, str | Path) else images
    if update and replace:
        raise ConfigError(
            "--update keeps the products that the feed lacks, and --replace removes them: give one of the two."
        )
    if source not in SOURCES:
        raise ConfigError(f"'{source}' is not a source ({', '.join(SOURCES)}){did_you_mean(source, SOURCES)}")
    if is_url(feed):
        raise ConfigError(f"{feed} is a URL, and ingest reads feeds on this machine: download it first.")
    options = options or SourceOptions()
    given = [taxonomy] if isinstance(taxonomy, str | Path) else [*(taxonomy or ())]
    rows = list(SOURCES[source](Path(feed), options))
    if not folders and not update and not any(is_url(name) for row in rows for name in row.images):
        raise no_images(feed)
    try:
        with writing(out):
            earlier = Earlier.read_whole(out) if update else Earlier.read(out)
            intake = _merged(rows, earlier, given, out, feed) if update else _whole(rows, given, out, feed)
            if intake.problems and bad_rows == "refuse":
                raise _refusal(feed, intake.problems)
            words, versions = intake.choice.taxonomy, history(out)
            number = next_number(versions)
            before, waiting = None if earlier is None else earlier.content, set[UnknownWord]()
            content = stated(intake.products).with_origins(before and before.in_words_of(words), number)
            if before is not None:
                content, waiting = with_reviews(content, before.reviewed, words, intake.fed, feed, feed_wins=feed_wins)
            changed = changes(None if before is None else before.in_force(), content.in_force())
            guarded = None if update or replace else earlier
            if guarded is not None:
                guarded.refuse_lost(feed, changed, {row.id for row in rows})
            find = PhotoLookup(folders, out / PHOTOS, out / WORK / "archives", Remote(options.schemes))
            downloads = Downloads(out, out / PHOTOS, out / WORK, refetch=refetch)
            opener = PhotoFacts(out / WORK, _known(out / "photos.parquet"))
            made = make_tables(intake.products, intake.problems, find, downloads, opener, out, intake.kept)
            tables = in_tables(content, made)
            if guarded is not None:
                guarded.refuse_mistaken(feed, tables)
            if earlier is not None:
                logger.info("%s: products %s", out, changed)
            if returning := removed_before(versions, changed.added):
                logger.warning("%s: %s, which had been removed, %s", out, *_coming_back(returning))
            for lost in filter(None, (of_retired_words(intake.products, words), of_several_values(intake.several))):
                logger.warning("%s: %s", out, lost)
            if intake.choice.drafted and not _has_taxonomy(out, words):
                for line in drafting_summary(drafting_warnings(words, usage_of(intake.products))):
                    logger.warning("%s: the drafted taxonomy has %s", out, line)
            new_words = proposal(intake.unknown | waiting, words)
            origin = Origin(str(Path(feed).absolute()), _sha256(Path(feed)), "update" if update else "replace")

            def record(staged: Path, digest: str) -> None:
                write_version(staged, number, content, changed, origin, digest)
                replace_text(staged / NEW_WORDS, to_toml(new_words))
                downloads.write(staged, tables["photos"]["path"])

            used = [out / path for path in tables["photos"]["path"]]
            provenance = {
                "feed": origin.feed,
                "source": source,
                "images": [str(folder) for folder in folders],
                "drafted_taxonomy": words.digest if intake.choice.drafted else None,
                "unused_photos": len({file for _, file in find.files}.difference(used)),
                "stray_labels": dict(stray_labels(intake.products, words)),
            }
            catalog = write_catalog(out, words, intake.choice.toml, tables, provenance, record)
            opener.forget()
            remove_unlisted(out / PHOTOS, chain((file for _, file in find.files), used))
    except OSError as error:
        raise CatalogError(not_written(f"the catalog {out}", error)) from error
    if new_words:
        logger.warning(
            "%s: %s not in the taxonomy, and left out of the labels:\n%s\nAdd them as values or aliases to %s, then "
            "ingest again with --update. All are in %s.",
            out,
            "1 word is" if len(new_words) == 1 else f"{len(new_words):,} words are",
            summary(new_words),
            out / TAXONOMY if intake.choice.published or not given else given[0],
            out / NEW_WORDS,
        )
    return catalog


def _whole(rows: Sequence[Row], taxonomy: Sequence[str | Path], out: Path, feed: str | Path) -> Intake:
    """The feed is the whole truth."""
    choice = load_or_draft(rows, taxonomy, out, feed)
    checked = check(rows, choice.taxonomy, leave_out=choice.published)
    products = sorted(checked.products, key=lambda product: product.id)
    return Intake(choice, products, checked.problems, checked.products, checked.unknown)


def _merged(
    rows: Sequence[Row], earlier: Earlier | None, taxonomy: Sequence[str | Path], out: Path, feed: str | Path
) -> Intake:
    """The products of the earlier catalog, updated by the feed."""
    if earlier is None:
        choice = load_or_draft(rows, taxonomy, out, feed)
        checked = check(rows, choice.taxonomy, leave_out=True)
        return Intake(choice, updated([], checked.products), checked.problems, checked.products, checked.unknown)
    known_rows = earlier.rows()
    choice = load_or_extend(rows, known_rows, taxonomy, out, feed)
    known = check_known(known_rows, choice.taxonomy)
    images = {product.id: product.images for product in known.products}
    checked = check(rows, choice.taxonomy, leave_out=True, known=images)
    products = updated(known.products, checked.products)
    kept = KeptPhotos(
        {fact["name"]: fact for fact in earlier.tables["photos"].iter_rows(named=True)},
        earlier.photo_faults(),
        images,
        frozenset(images.keys() - {product.id for product in checked.products if product.images}),
    )
    unknown = remaining(known.unknown | checked.unknown, products)
    resolved = {(key, product.id) for product in products for key in product.labels}
    several = [field for field in known.several if field not in resolved]
    choice = choice.counting(products, feed)
    return Intake(choice, products, checked.problems, checked.products, unknown, several, kept)


def _has_taxonomy(out: Path, taxonomy: Taxonomy) -> bool:
    manifest = read_manifest(out)
    return manifest is not None and manifest.taxonomy == taxonomy.digest


def _coming_back(ids: Sequence[str]) -> tuple[str, str]:
    first = first_ids(ids)
    return (f"{len(ids):,} products ({first})", "come back") if len(ids) > 1 else (f"product {first}", "comes back")


def _refusal(feed: str | Path, problems: Sequence[Problem]) -> FeedError:
    count = len(problems)
    return FeedError(
        f"{feed}: {count:,} {'problem' if count == 1 else 'problems'}; nothing was written.\n"
        f"{summarise(problems)}\n"
        "Fix the feed or the taxonomy, or leave those rows out with --bad-rows quarantine.",
        [str(problem) for problem in problems],
    )


def _known(table: Path) -> pl.DataFrame | None:
    """The photo facts of an earlier ingest; None if they cannot be read."""
    try:
        known = read_parquet(table)
    except (OSError, pl.exceptions.PolarsError):
        return None
    return known if known.schema == TABLES["photos"] else None


def _sha256(feed: Path) -> str | None:
    return file_sha256(feed) if feed.is_file() else None
