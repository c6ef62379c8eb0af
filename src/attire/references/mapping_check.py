"""What a mapping.toml must have before a file for a shop can be written with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attire.errors import ConfigError, did_you_mean, listed, shown
from attire.references.mapping import Mapping, Target
from attire.references.metafields import metafield
from attire.references.reference import Shop
from attire.references.vocabulary import GOOGLE_COLUMNS, GOOGLE_VALUES

AGAIN = "run attire taxonomy map again with --reference, which adds it"


def load_complete_mapping(path: Path, to: Shop) -> Mapping:
    """Read a mapping for a shop; raises `ConfigError` with all of its faults."""
    mapping = Mapping.load(path)
    if mapping.to != to:
        raise ConfigError(f"{path} maps to {mapping.to}, but --as is {to}. Draft another with --to {to}.")
    if faults := [*_faults(mapping)]:
        raise ConfigError(f"{path} cannot be used:\n  {listed(faults)}")
    return mapping


def _faults(mapping: Mapping) -> Iterator[str]:
    yield from (f"categories: {fault}" for fault in map(_nameless, mapping.categories.items()) if fault)
    for key, columns in mapping.keys.items():
        for column, targets in columns.items():
            where = f"keys.{shown(key)}: "
            if mapping.to == "google" and column not in GOOGLE_COLUMNS:
                hint = did_you_mean(column, GOOGLE_COLUMNS)
                yield f"{where}'{shown(column)}' is not one of Google's columns {', '.join(GOOGLE_COLUMNS)}{hint}"
            if mapping.to == "shopify" and metafield(column) is None:
                yield f"{where}'{shown(column)}' is not a column 'Name (product.metafields.NAMESPACE.HANDLE)'."
            yield from (f"{where}{fault}" for fault in map(_nameless, targets.items()) if fault)
            if allowed := GOOGLE_VALUES.get(column) if mapping.to == "google" else None:
                wrong = (target.name for target in targets.values() if target.name not in ("", *allowed))
                yield from (
                    f"{where}{column} cannot be '{shown(name)}'. Expected {', '.join(allowed)}." for name in wrong
                )


def _nameless(entry: tuple[str, Target]) -> str:
    word, target = entry
    return f"'{shown(word)}' has an id, but no name: {AGAIN}." if target.id and not target.name else ""
