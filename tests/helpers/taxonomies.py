"""Taxonomies for tests."""

from __future__ import annotations

from attire.taxonomy import Key, Taxonomy


def many_keys(keys: int = 46) -> Taxonomy:
    """One category, and keys of one to seven values, every fifth of arity many."""
    return Taxonomy(
        categories=("A",),
        keys={
            f"k{i}": Key(
                arity="many" if i % 5 == 0 else "one",
                categories=("A",),
                values=tuple(f"v{j}" for j in range(1 + i % 7)),
            )
            for i in range(keys)
        },
    )
