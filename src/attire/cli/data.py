"""Verbs for catalogs: ingest, history, split and duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from cyclopts import Parameter

from attire.cli.app import DEFAULTS, Options, app, console, facts, table
from attire.errors import CatalogError, first_ids
from attire.taxonomy import CATEGORY


@app.command
def ingest(
    feed: str,
    /,
    *,
    out: Path,
    images: list[str] = [],  # noqa: B006
    source: str = "table",
    taxonomy: list[Path] = [],  # noqa: B006
    bad_rows: Literal["refuse", "quarantine"] = "refuse",
    replace: Annotated[bool, Parameter(negative="")] = False,
    update: Annotated[bool, Parameter(negative="")] = False,
    refetch: Annotated[bool, Parameter(negative="")] = False,
    feed_wins: Annotated[bool, Parameter(negative="")] = False,
    cache_px: int | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Read a feed and its photos into a catalog; drafts taxonomy.toml unless one is given.

    Parameters
    ----------
    feed
        CSV, TSV, JSON Lines, Parquet or Excel (.xlsx) file, or the format of --source.
    images
        Folders, tar or zip archives, and URLs (s3://bucket/photos) with the photos. Photos that the feed names by URL
        are downloaded once, into the catalog.
    out
        The catalog's directory. Run again to apply a changed taxonomy.toml or feed; only new photos are opened.
    source
        table, shopify, flipkart, myntra or imagefolder.
    taxonomy
        taxonomy.toml with the allowed categories, keys and values; or the files of Shopify's taxonomy (taxonomy.json,
        or categories.json and attributes.json), of which the feed's part is taken.
    bad_rows
        Whether rows with a problem make ingest fail, or are left out and listed.
    replace
        The feed is the whole truth, even if it lacks products of the catalog, or has other photos for the same ids.
    update
        The feed has only what is new: products that it lacks, and fields that it leaves blank, stay as they are. Words
        that the taxonomy lacks are left out and listed in new-words.toml.
    refetch
        Ask for newer versions of photos at URLs that were downloaded before.
    feed_wins
        Values of the feed replace those that reviewers decided (attire review apply).
    cache_px
        Also cache decoded photos for training, with this length of the shorter side in px (256 for 224 x 224).
    """
    from attire.catalog.ingest import ingest as run

    catalog = run(
        feed,
        images,
        out,
        source=source,
        taxonomy=taxonomy,
        options=options,
        bad_rows=bad_rows,
        replace=replace,
        update=update,
        refetch=refetch,
        feed_wins=feed_wins,
    )
    if cache_px is not None:
        from attire.pixels.photo_cache import cache_photos

        cache_photos(catalog, cache_px)
    words = catalog.taxonomy
    console.print(
        facts(
            {
                "products": f"{len(catalog):,} in {catalog.products['group'].n_unique():,} groups",
                "photos": f"{len(catalog.photos):,}",
                "taxonomy": f"{len(words.categories)} categories, {len(words.keys)} keys, {words.width} values",
                "labels": f"{len(catalog.labels):,}",
                "without category": f"{catalog.products['category'].null_count():,}",
                "quarantined": f"{len(catalog.quarantine):,}",
            }
        )
    )
    if len(catalog.quarantine):
        without_numbers = pl.col("reason").str.replace_all(r"\d[\d,]*", "").alias("without_numbers")
        kinds = catalog.quarantine.group_by("kind", without_numbers, maintain_order=True)
        reasons = kinds.agg(pl.col("reason").first().alias("reason of the first"), pl.len().alias("times"))
        console.print(
            table(reasons.drop("without_numbers").sort("times", descending=True, maintain_order=True).head(10))
        )
    console.print(
        f"{catalog.path}  (edit {catalog.path / 'taxonomy.toml'} and ingest again to change categories, keys or values)"
    )


@app.command
def history(catalog: Path, /, *, diff: tuple[int, int] | None = None) -> None:
    """List the versions of a catalog, one for each ingest, review and removal, or compare two of them.

    Parameters
    ----------
    diff
        The numbers of two versions, the earlier one first.
    """
    from attire.catalog.store import read_manifest
    from attire.catalog.version_diff import difference
    from attire.catalog.versions import history as versions_of

    if diff is None:
        if read_manifest(catalog) is None:
            raise CatalogError(f"{catalog} holds no finished catalog: expected the --out of an attire ingest.")
        rows = [
            {
                "version": entry.number,
                "when (UTC)": f"{entry.when:%Y-%m-%d %H:%M}",
                "mode": entry.mode,
                "feed": Path(entry.feed).name,
                **entry.model_dump(include={"added", "changed", "unchanged", "gone", "reviewed"}),
            }
            for entry in versions_of(catalog)
        ]
        console.print(
            table(pl.DataFrame(rows)) if rows else f"{catalog} has no versions yet: the next ingest adds one."
        )
        return
    changed = difference(catalog, *diff)
    console.print(facts({"products added": _some(changed.added), "products gone": _some(changed.gone)}))
    if changed.fields.is_empty():
        console.print("No field of a product in both versions changed.")
    else:
        console.print("Fields of products in both versions:")
        console.print(table(changed.by_key()))


def _some(ids: Sequence[str]) -> str:
    """The number of ids, and the first ones."""
    return f"{len(ids):,} ({first_ids(ids)})" if ids else "0"


@app.command
def split(
    catalog: Path,
    /,
    *,
    val: float | None = None,
    test: float | None = None,
    seed: int | None = None,
    anew: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Divide a catalog into train, val and test: groups stay together, and each has the same mix of labels.

    Run it again after each ingest: products keep their split, and new ones are dealt over the splits.

    Parameters
    ----------
    val, test
        Shares of the products; by default as before, or 0.25 and 0. A larger share takes products from train.
    seed
        The same seed gives the same splits; by default as before, or 0.
    anew
        Deal all products again, which may move any product to another split.
    """
    from attire.catalog.balance import RARE, balance
    from attire.catalog.splits import split as run
    from attire.catalog.store import Catalog

    opened = Catalog.load(catalog)
    splits = run(opened, val=val, test=test, seed=seed, anew=anew)
    deviations = balance(opened, splits)
    console.print(f"train {len(splits.train):,}  val {len(splits.val):,}  test {len(splits.test):,}")
    if (changes := splits.changes) is not None:
        moved = [f"  from {a} to {b} {count:,}" for (a, b), count in changes.moved.items()]
        counts = f"kept their split {changes.kept:,}  new {changes.new:,}  gone {changes.gone:,}"
        console.print(counts + "".join(moved))
    console.print(
        f"Largest deviations from the target share, among categories and values with at least {RARE} products:"
    )
    common = deviations.filter(pl.col("count") >= RARE).with_columns(pl.col("key").replace(CATEGORY, "category"))
    console.print(table(common.sort(pl.col("deviation").abs(), descending=True).head(10)))


@app.command
def duplicates(catalog: Path, /, *, out: Path, bundle: Path | None = None, similarity: float = 0.97) -> None:
    """List products that share a photo or have nearly the same one, and what they state differently.

    Parameters
    ----------
    out
        .csv or .parquet for the table, .html for a page with the photos.
    bundle
        Also list products that this model can hardly tell apart. Photos that it has not looked at yet are embedded
        first (minutes for thousands, once).
    similarity
        With --bundle: the least cosine similarity of two photos, at most 1.
    """
    from attire.twins.duplicates import duplicates as run

    found = run(catalog, bundle, similarity=similarity, out=out)
    contradicting = found.filter(pl.col("contradictions") != "")
    console.print(
        facts(
            {
                "products": f"{len(found):,} in {found['set'].n_unique():,} sets",
                "contradicting sets": f"{contradicting['set'].n_unique():,}, {len(contradicting):,} products",
            }
        )
    )
    console.print(f"{out}")
