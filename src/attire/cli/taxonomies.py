"""Verbs for taxonomies: taxonomy check, diff and map."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl
from cyclopts import App

from attire.catalog.row_words import KEY
from attire.cli.app import app, console, facts, table
from attire.errors import first_few
from attire.taxonomy import Taxonomy, key_label

if TYPE_CHECKING:
    from attire.taxonomy_diff.diff import TaxonomyDiff

LISTED, WORDS = 200, 8  # changes in a table, and words of a change
taxonomy = App(name="taxonomy", help="Check a taxonomy, or see what a change to it does before it is applied.")
app.command(taxonomy)


@taxonomy.command
def check(source: Path, /, *, limit: int = 20) -> None:
    """Check a taxonomy, and list words to look at: placeholders, rare words, near-duplicates, possible parents.

    Parameters
    ----------
    source
        A catalog, or a taxonomy.toml. Only of a catalog, the numbers of products are known.
    limit
        Number of entries listed of each kind.
    """
    from attire.catalog.drafting_warnings import ADVICE, TITLES
    from attire.catalog.taxonomy_check import check_taxonomy

    checked = check_taxonomy(source)
    words = checked.taxonomy
    parents = sum(len(key.parents) for key in words.keys.values())
    console.print(
        f"{len(words.categories)} categories, {len(words.keys)} keys, {words.width} values"
        f"{f', {parents} of them with a parent' if parents else ''}: valid"
    )
    for kind, title in TITLES.items():
        found = [str(warning) for warning in checked.warnings if warning.kind == kind]
        if found:
            console.print(f"\n{title[0].upper()}{title[1:]}: {len(found):,}. {ADVICE[kind]}", soft_wrap=True)
            more = [f"... and {len(found) - limit:,} more (--limit)"] if len(found) > limit else []
            for line in (*found[:limit], *more):
                console.print(f"  {line}", soft_wrap=True, highlight=False)
    if checked.is_edited:
        console.print(f"\nIt was edited since the last ingest. 'attire taxonomy diff {source}' says what that changes.")


@taxonomy.command
def diff(
    old: Path,
    new: Path | None = None,
    /,
    *,
    catalog: Path | None = None,
    bundle: Path | None = None,
    store: str | None = None,
) -> None:
    """Say what a changed taxonomy does to labels, bundles and reviews. Nothing is changed.

    Parameters
    ----------
    old
        A catalog (the taxonomy of its last ingest), a taxonomy.toml, or a bundle.
    new
        The same; by default the taxonomy.toml of the catalog, as you edited it.
    catalog
        The catalog whose labels and review decisions are counted; by default OLD, if it is one.
    bundle
        The bundle whose outputs are compared; by default OLD, if it is one.
    store
        The --store of the catalog's review page.
    """
    from attire.taxonomy_diff.diff import diff_taxonomy

    result = diff_taxonomy(old, new, catalog=catalog, bundle=bundle, store=store)
    if not result.changes:
        console.print("No word, parent, arity or applicability changes.")
    else:
        rows = [
            {
                "change": change.kind,
                "key": "keys" if change.key == KEY else key_label(change.key),
                "words": " → ".join(filter(None, [first_few(change.before, WORDS), first_few(change.after, WORDS)])),
                "products": result.affected(change),
            }
            for change in result.changes[:LISTED]
        ]
        printed = pl.DataFrame(rows, schema_overrides={"products": pl.Int64})
        console.print(table(printed if result.labels is not None else printed.drop("products")))
        if len(result.changes) > LISTED:
            console.print(f"... and {len(result.changes) - LISTED:,} more changes")
    console.print(facts(dict(_effects(result))))


@taxonomy.command(name="map")
def map_words(
    source: Path,
    /,
    *,
    to: Literal["shopify", "google"],
    reference: list[Path],
    out: Path = Path("mapping.toml"),
) -> None:
    """Draft a mapping of your words to those of a shop, for people to edit and attire fill --as to use.

    Parameters
    ----------
    source
        A catalog, a taxonomy.toml or a bundle.
    to
        shopify: categories, attributes and values of Shopify; google: categories and columns of Merchant Center.
    reference
        The shop's published files, or folders with them: Shopify's taxonomy.json, or categories.json and
        attributes.json, or its YAML; Google's taxonomy-with-ids.en-US.txt. With Shopify's files and its mapping to
        Google, more of Google's categories are found.
    out
        The mapping. Run again to add new words to it; what it says already stays.
    """
    from attire.catalog.applied_taxonomy import taxonomy_of
    from attire.references.map_words import map_words as run

    file = source / "taxonomy.toml"  # as edited, maybe after the last ingest
    words = Taxonomy.load(file) if file.is_file() else taxonomy_of(source)
    draft = run(words, to, reference, out)
    mapping = draft.mapping
    values = sum(len(targets) for columns in mapping.keys.values() for targets in columns.values())
    unmapped = sum(map(len, draft.values.values()))
    console.print(
        facts(
            {
                "categories": f"{len(mapping.categories):,} mapped, {len(draft.categories):,} without a match",
                "keys": f"{len(mapping.keys):,} mapped, {len(draft.keys):,} without a match",
                "values": f"{values:,} mapped, {unmapped:,} without a match",
            }
        )
    )
    console.print(f"{out}  (edit it: words without a match are comments, with the nearest names)")


def _effects(result: TaxonomyDiff) -> Iterator[tuple[str, str]]:
    """The effects as pairs of a name and a text."""
    for change in result.changes:
        if change.kind == "split":
            count = result.affected(change)
            known = f"{count:,} labels become"
            became = "its labels become" if count is None else "1 label becomes" if count == 1 else known
            yield (
                "split",
                f"{became} unknown: nothing says which of {first_few(change.after, WORDS)} was '{change.before[0]}'",
            )
    if (labels := result.labels) is not None:
        yield (
            "labels",
            f"{labels.kept:,} kept, {labels.renamed:,} renamed, {labels.lost:,} lost, {labels.gained:,} gained",
        )
        if labels.category_lost:
            yield "products", f"{labels.category_lost:,} of {labels.products:,} lose their category"
        if labels.rows_refused:
            yield (
                "set aside",
                f"{labels.rows_refused:,} of {labels.products:,} products, if a feed with all these words is ingested "
                "without --update, because their words do not fit. An alias or 'retired' prevents that.",
            )
        if labels.not_applicable != labels.not_applicable_before:
            yield (
                "no use",
                f"{labels.not_applicable:,} labels on keys that do not apply (now {labels.not_applicable_before:,})",
            )
    if (bundle := result.bundle) is not None:
        yield (
            "bundle",
            f"{bundle.same:,} of {bundle.columns:,} columns keep their name, {bundle.renamed:,} renamed, "
            f"{bundle.merged:,} merged, {bundle.gone:,} gone; {bundle.new:,} values have no column",
        )
        yield "train again", ", ".join(map(key_label, bundle.train)) or "nothing"
    if (decisions := result.decisions) is not None:
        yield (
            "reviews",
            f"{decisions.kept:,} of {decisions.decided:,} decisions keep their value, {decisions.renamed:,} renamed, "
            f"{decisions.lost:,} lost",
        )
