"""Verbs for taxonomies: taxonomy check and taxonomy map."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from attire.cli.app import app, console, facts
from attire.taxonomy import Taxonomy

taxonomy = App(name="taxonomy", help="Check a taxonomy, or see what a change to it does before it is applied.")
app.command(taxonomy)


@taxonomy.command
def check(source: Path, /) -> None:
    """Check a taxonomy, and list words to look at.

    Parameters
    ----------
    source
        A catalog, or a taxonomy.toml.
    """
    words = _load(source)
    console.print(f"{len(words.categories)} categories, {len(words.keys)} keys, {words.width} values")


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
        A catalog, or a taxonomy.toml.
    to
        shopify: categories, attributes and values of Shopify; google: categories and columns of Merchant Center.
    reference
        The shop's published files, or folders with them: Shopify's taxonomy.json, or categories.json and
        attributes.json, or its YAML; Google's taxonomy-with-ids.en-US.txt. With Shopify's files and its mapping to
        Google, more of Google's categories are found.
    out
        The mapping. Run again to add new words to it; what it says already stays.
    """
    from attire.references.map_words import map_words as run

    words = _load(source)
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


def _load(source: Path) -> Taxonomy:
    return Taxonomy.load(source / "taxonomy.toml" if source.is_dir() else source)
