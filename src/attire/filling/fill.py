"""Fill the blanks of a feed: predict its products, and write the feed again with sure answers in blank cells."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import polars as pl

from attire.bundle import ModelBundle
from attire.catalog.applied_taxonomy import taxonomy_of
from attire.catalog.sources import SourceOptions
from attire.catalog.sources.reading import read_table
from attire.engines.engine import AUTO, Engine
from attire.errors import ConfigError, FeedError
from attire.files import file_sha256, locked, read_json, replace_parquet, replacing
from attire.filling.checks import check_existing, check_language, check_paths, check_promise, mapping_for
from attire.filling.delimited_text import DelimitedText
from attire.filling.feed_editor import FeedEditor
from attire.filling.json_column import JsonColumn
from attire.filling.json_lines import JsonLines
from attire.filling.layout import every_field, layout_of
from attire.filling.more_spellings import with_spellings_of
from attire.filling.outcomes import Filler
from attire.filling.parquet_file import ParquetFile
from attire.filling.predictions import Predictions
from attire.filling.shop_file import ShopFile
from attire.filling.summary import FillSummary, Tally
from attire.filling.survey import Survey, survey
from attire.filling.thumbnails import Thumbnail
from attire.filling.thumbnails import thumbnails as thumbnails_of
from attire.filling.workbook_file import WorkbookFile
from attire.inference.bulk import predict
from attire.inference.logits import BATCH
from attire.inference.run_record import record_path
from attire.photos.lookup import PhotoLookup, no_images
from attire.photos.remote import Remote, is_url
from attire.references.reference import Shop
from attire.score.promise import PRECISION, Promise
from attire.storage import not_written

EDITORS: dict[str, Callable[[Path, SourceOptions], FeedEditor]] = {
    ".csv": DelimitedText,
    ".tsv": DelimitedText,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": ParquetFile,
    ".xlsx": WorkbookFile,
}


def fill(
    bundle: ModelBundle | str | Path,
    feed: str | Path,
    out: str | Path,
    *,
    images: str | Path | Sequence[str | Path] = (),
    options: SourceOptions | None = None,
    precision: Promise | float = PRECISION,
    language: str = "",
    taxonomy: str | Path | None = None,
    engine: str | Engine = AUTO,
    batch_size: int = BATCH,
    overwrite_suspects: bool = False,
    thumbnails: bool = False,
    overwrite: bool = False,
    source: str = "table",
    shop: Shop | None = None,
    mapping: str | Path | None = None,
) -> FillSummary:
    """Write the feed to `out` with the blank cells of keys filled by answers that are sure enough for `precision`.

    The feed is a CSV, TSV, JSON Lines, Parquet or Excel (.xlsx) file with a row per product or photo, and `out` has the
    same suffix. All other cells stay as they are, and stated values are never replaced, except by
    `overwrite_suspects`: then a sure answer replaces the stated values that it contradicts. A category that the feed
    states, and that the bundle knows, decides which keys apply. A blank category is filled if it is sure enough too.
    Values are written with their title in `language`, if the taxonomy has one, and otherwise as the feed spells them
    most often. Titles, aliases and parents are those of the bundle, and of `taxonomy` (a taxonomy.toml or a catalog),
    which may have been edited since the bundle was trained. The report of all blank and suspected fields is written to
    `out` with the suffix `.fill.csv`, and as a sheet of an .xlsx, with `thumbnails` of the products if asked for. The
    bundle, the promise and what the model answered are recorded in `out`.json.

    `source` is the format of the feed, `table` or `shopify`. With `shop`, `out` is not the feed, but a file that the
    shop imports: Shopify's product CSV, or a TSV for Google Merchant Center. It has a row per product with what the
    feed states and what is sure enough, in the words of the shop; `mapping` is the mapping.toml for it.

    A killed run resumes when it is called again. Raises `ConfigError`, before anything is computed, if `out` exists
    (unless `overwrite`), is the feed or cannot be written, if the bundle was not calibrated, or if no title is in
    `language`; and `FeedError` if the feed cannot be read.
    """
    if is_url(str(feed)):
        raise ConfigError(f"{feed} is a URL. Expected a file: download the feed first.")
    bundle, feed, out = ModelBundle.of(bundle), Path(feed), Path(out)
    options = options or SourceOptions()
    images = [images] if isinstance(images, str | Path) else images
    report, folder = out.with_name(f"{out.stem}.fill.csv"), out.with_name(f"{out.name}.filling")
    record = record_path(out)
    check_paths(feed, (out, report, record), images, shop, EDITORS)
    if thumbnails and out.suffix.lower() != ".xlsx":
        raise ConfigError(f"{out}: thumbnails can only be put into an .xlsx.")
    promise = Promise.of(precision)
    check_promise(bundle, promise)
    shop_mapping = mapping_for(shop, mapping)
    words = bundle.taxonomy if taxonomy is None else with_spellings_of(bundle.taxonomy, taxonomy_of(taxonomy))
    check_language(words, language)
    layout = (layout_of if shop_mapping is None else every_field)(source, feed, options, words)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another attire fill is writing {out}: wait until it is done, or choose another --out."
        with locked(out.with_name(f".{out.name}.lock"), ConfigError(busy)):
            if not overwrite:
                check_existing(out, (report, record), folder)
            before = file_sha256(feed)
            # The editor comes first, because it refuses what cannot be edited.
            editor = (
                _editor(feed, options.model_copy(update={"separator": layout.separator}))
                if shop_mapping is None
                else ShopFile(layout.rows, words, shop_mapping)
            )
            found = survey(layout.rows, layout.labels, words)
            products = _products(feed, found, images, folder)
            predicted = folder / f"predictions-{_digest(bundle, promise, engine)}.parquet"
            summary = predict(
                bundle,
                products,
                predicted,
                images=images,
                options=SourceOptions(schemes=options.schemes, empty=("",)),
                format="long",
                precision=promise,
                known_category=bool((found.products["category"] != "").any()),
                engine=engine,
                batch_size=batch_size,
                overwrite=overwrite,
            )
            if file_sha256(feed) != before:
                raise ConfigError(f"{feed} was changed while it was filled. Run the command again.")
            filler = Filler(
                words,
                layout,
                found,
                # A product without any of the columns' keys is still to be found, by any key.
                Predictions(predicted, {*layout.columns, next(iter(bundle.taxonomy.keys))}, found.rows),
                editor,
                options,
                language=language,
                overwrite_suspects=overwrite_suspects,
            )
            # The last of these is finished first, and the filled feed last.
            with replacing(out) as filled, replacing(report) as reported, replacing(record) as recorded:
                tally = Tally(filler.outcomes(layout.rows()), layout.columns, reported)
                pictures = _pictures(found, images, folder, options) if thumbnails else None
                editor.write(tally.edits(), tally.report()._replace(thumbnails=pictures), filled)
                facts = read_json(record_path(predicted))
                facts = {name: fact for name, fact in facts.items() if name not in ("made_of", "sha256")}
                recorded.write_text(json.dumps(facts, indent=1), encoding="utf-8")
            shutil.rmtree(folder)
    except OSError as error:
        raise ConfigError(not_written(str(out), error)) from error
    shop_file = editor if isinstance(editor, ShopFile) else None
    return FillSummary(
        out,
        report,
        products=found.products["id"].n_unique(),
        unread=dict(tally.unread.most_common()),
        keys=tuple(tally.keys()),
        without_column=tuple(key for key in words.keys if key not in layout.columns),
        unmapped=dict(shop_file.unmapped.most_common()) if shop_file else {},
        left_out=dict(shop_file.left_out.most_common()) if shop_file else {},
        drift=summary.drift,
    )


def _editor(feed: Path, options: SourceOptions) -> FeedEditor:
    suffix = feed.suffix.lower()
    editor = EDITORS[suffix](feed, options)
    if options.attributes and not isinstance(editor, JsonLines):
        return JsonColumn(editor, lambda: read_table(feed, options), options)
    return editor


def _products(feed: Path, found: Survey, images: Sequence[str | Path], folder: Path) -> Path:
    """Write the products to `folder`, as a feed with checked categories."""
    if not len(found.products):
        raise FeedError(f"{feed}: no row has an id. Name its column with --id.")
    if not images and not found.products["image"].explode().str.contains("://", literal=True).any():
        raise no_images(feed)
    folder.mkdir(exist_ok=True)
    replace_parquet(folder / "products.parquet", found.products)
    return folder / "products.parquet"


def _pictures(
    found: Survey, images: Sequence[str | Path], folder: Path, options: SourceOptions
) -> Callable[[Sequence[str]], Iterator[tuple[str, Thumbnail | None]]]:
    """Makes thumbnails of the products with the given ids."""

    def make(ids: Sequence[str]) -> Iterator[tuple[str, Thumbnail | None]]:
        images_of = pl.col("image").explode().drop_nulls().unique(maintain_order=True)
        products = found.products.filter(pl.col("id").is_in(list(ids))).group_by("id").agg(images_of)
        find = PhotoLookup(images, folder / "photos", folder / "archives", Remote(options.schemes))
        return thumbnails_of(ids, dict(products.iter_rows()), find)

    return make


def _digest(bundle: ModelBundle, promise: Promise, engine: str | Engine) -> str:
    """A digest of all that decides the predictions, except for products and photos, which `predict` checks itself."""
    name = engine if isinstance(engine, str) else engine.name
    settings = [version("attire"), bundle.digest, promise.model_dump(), name]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
