"""What changed between two versions of a catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attire.catalog.content import Content
from attire.catalog.versions import read_content, version_of
from attire.taxonomy import CATEGORY, SEPARATOR, key_label

TITLE, IMAGES = "@title", "@images"  # stand for the title and the photos where a key is expected


@dataclass(frozen=True, eq=False)  # tables have no single truth value
class Difference:
    """Ids of products that were `added` and `gone`, and the `fields` that changed of products in both versions.

    `fields` has the columns key (or `@category`, `@title`, `@images`), id, before and after; several values are
    separated by `|`, and null means that there was no label, or is none any more.
    """

    added: list[str]
    gone: list[str]
    fields: pl.DataFrame

    def by_key(self, examples: int = 3) -> pl.DataFrame:
        """A row per key: the numbers of fields `added`, `removed` and `changed`, and the first examples."""
        shown = pl.format("{}: {} → {}", "id", pl.col("before").fill_null("–"), pl.col("after").fill_null("–"))
        rows = self.fields.with_columns(example=shown).group_by("key", maintain_order=True)
        counts = rows.agg(
            added=pl.col("before").is_null().sum(),
            removed=pl.col("after").is_null().sum(),
            changed=(pl.col("before").is_not_null() & pl.col("after").is_not_null()).sum(),
            examples=pl.col("example").head(examples).str.join("\n"),
        )
        labels = {key: key_label(key).removeprefix("@") for key in counts["key"]}
        return counts.with_columns(pl.col("key").replace(labels))


def difference(catalog: str | Path, before: int, after: int) -> Difference:
    """Compare two versions of the catalog at that path; raises `CatalogError` if one is missing or damaged."""
    old, new = (read_content(catalog, version_of(catalog, number)).in_force() for number in (before, after))
    ids, old_ids = new.products.select("id"), old.products.select("id")
    both = ids.join(old_ids, on="id", how="semi")
    fields = _fields(old).join(_fields(new), on=["key", "id"], how="full", suffix="_after", coalesce=True)
    changed = fields.filter(pl.col("value").ne_missing(pl.col("value_after"))).join(both, on="id", how="semi")
    first = pl.col("key").is_in([CATEGORY, TITLE, IMAGES])
    return Difference(
        ids.join(old_ids, on="id", how="anti")["id"].sort().to_list(),
        old_ids.join(ids, on="id", how="anti")["id"].sort().to_list(),
        changed.select("key", "id", before="value", after="value_after").sort(~first, "key", "id"),
    )


def _fields(content: Content) -> pl.DataFrame:
    """Columns key, id, value: all values of a field as one text; the category, title and photos count as fields."""
    labels = content.labels.sort("value").group_by("key", "id").agg(pl.col("value").str.join(SEPARATOR))
    products = content.products.with_columns(pl.col("images").list.join(SEPARATOR))
    columns = ((CATEGORY, "category"), (TITLE, "title"), (IMAGES, "images"))
    cells = [products.select(pl.lit(key).alias("key"), "id", value=column) for key, column in columns]
    return pl.concat([*cells, labels]).filter(pl.col("value") != "")
