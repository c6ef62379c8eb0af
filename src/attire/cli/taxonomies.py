"""Verbs for taxonomies: taxonomy check."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from attire.cli.app import app, console
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
    words = Taxonomy.load(source / "taxonomy.toml" if source.is_dir() else source)
    console.print(f"{len(words.categories)} categories, {len(words.keys)} keys, {words.width} values")
