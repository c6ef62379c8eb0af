"""Write all files of a catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.applied_taxonomy import keep_taxonomy
from attire.catalog.commit import MANIFEST, replacing_all
from attire.catalog.content import Content
from attire.catalog.store import REVIEWS, TABLES, TAXONOMY, Catalog, Manifest
from attire.files import file_sha256, replace_parquet, replace_text
from attire.taxonomy import Taxonomy


def write_catalog(
    path: Path,
    taxonomy: Taxonomy,
    taxonomy_toml: str,
    tables: Mapping[str, pl.DataFrame],
    source: Mapping[str, Any],
    record: Callable[[Path, str], None] | None = None,
) -> Catalog:
    """Write a catalog and open it. `source` records what it was made from.

    All files replace those of an existing catalog at once: after a kill at any moment it is the old or the new one.
    `record` gets the folder in which they are prepared and the catalog's digest, to add files of its own. No other
    process may be writing the catalog.
    """
    digest = _digest(taxonomy, tables)
    with replacing_all(path) as staged:
        files = {name: staged / f"{name}.parquet" for name in tables}
        for name, table in tables.items():
            replace_parquet(files[name], table)
        if REVIEWS not in tables:
            (staged / f"{REVIEWS}.parquet").touch()  # removes that of the catalog
        replace_text(staged / TAXONOMY, taxonomy_toml)
        keep_taxonomy(staged, taxonomy)
        if record is not None:
            record(staged, digest)
        manifest = Manifest(
            format=1,
            attire=version("attire"),
            digest=digest,
            taxonomy=taxonomy.digest,
            tables={name: file_sha256(file) for name, file in files.items()},
            rows={name: len(table) for name, table in tables.items()},
            source=dict(source),
        )
        replace_text(staged / MANIFEST, manifest.model_dump_json(indent=1))
    return Catalog.verified(path)


def in_tables(content: Content, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """`tables` with the categories, labels and reviews of `content`, which has the same products in the same order."""
    in_force = content.in_force()
    reviewed = {} if content.reviewed.is_empty() else {REVIEWS: content.reviewed}
    return {
        "products": tables["products"].with_columns(in_force.products["category"]),
        "labels": in_force.labels.select([*TABLES["labels"]]),
        "photos": tables["photos"],
        "quarantine": tables["quarantine"],
        **reviewed,
    }


def _digest(taxonomy: Taxonomy, tables: Mapping[str, pl.DataFrame]) -> str:
    """SHA-256 of the content, in the order of ids and names, without paths."""
    content = hashlib.sha256(taxonomy.digest.encode())
    for name, columns in (
        ("products", [*TABLES["products"]]),
        ("labels", [*TABLES["labels"]]),
        ("photos", ["name", "sha256"]),
    ):
        content.update(tables[name].select(columns).write_json().encode())
    if REVIEWS in tables:  # these decide what is trained on
        content.update("\n".join(tables[REVIEWS].filter("sampled")["id"].unique().sort()).encode())
    return content.hexdigest()
