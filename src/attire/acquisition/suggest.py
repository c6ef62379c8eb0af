"""Which products to label next, and which of their fields: as a table, and as a feed that people fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from attire.acquisition.design import Choice, choose
from attire.acquisition.evidence import Photos, embedded_by_backbone, embedded_by_bundle, fields_of
from attire.acquisition.typical import choose_typical
from attire.acquisition.worksheet import ingest_command, worksheet, worksheet_columns, write_worksheet
from attire.bundle import ModelBundle
from attire.catalog.splits import MANIFEST, Splits
from attire.catalog.store import Catalog
from attire.catalog.suggestions import SCHEMA, SUGGESTION_TABLE
from attire.config import Recipe, load_recipe
from attire.errors import CatalogError, ConfigError
from attire.progress import track
from attire.storage import storing
from attire.taxonomy import CATEGORY

CANDIDATES = 20_000  # products that are compared; of more, as many are drawn at random
SEED = 0


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What to label next.

    table: a row per field with product, key (`attire.taxonomy.CATEGORY` for the category), score and rank, the most
    useful first. sheet: the feed to fill in, None if none was written. left_out: products that are in the table but not
    in the feed, because a spreadsheet would run their id as a formula. command: ingests the filled feed.
    """

    table: pl.DataFrame
    sheet: Path | None
    left_out: int
    command: str

    @property
    def products(self) -> int:
        """The number of products."""
        return self.table["product"].n_unique()


def suggest(
    catalog: Catalog | str | Path,
    bundle: ModelBundle | str | Path | None = None,
    *,
    n: int = 200,
    out: str | Path | None = None,
    recipe: str | Path | Recipe = "frozen",
    weights: str | Path | None = None,
    workers: int | None = None,
) -> Suggestions:
    """Choose `n` products of the train split, and those of their fields whose labels would teach a model most.

    With a `bundle`, fields count by how unsure it is of them. Without one, all fields of products are chosen that are
    typical of many others, on embeddings by the backbone of `recipe` (with `weights` as in `train`). Embeddings are
    computed once, and cached where `train` with the recipe `frozen` finds them. Products of val, of test and of the
    judged random sample are never chosen; a catalog that was not split yet has none.

    The table is kept in the catalog, for the queue "Most useful" of `attire review`. `out`: a CSV file with the
    products to fill in.

    Raises `ConfigError` if `n` is not positive, `out` exists or the bundle does not fit the catalog, and `CatalogError`
    if there is nothing to ask for.
    """
    if n < 1:
        raise ConfigError(f"--n {n}: expected the number of products to choose, 1 or more.")
    sheet = None if out is None else Path(out)
    if sheet is not None and sheet.suffix.lower() != ".csv":
        raise ConfigError(f"--out {sheet}: expected a file name that ends in .csv.")
    if sheet is not None and sheet.exists():
        raise ConfigError(
            f"{sheet} exists, and people may have filled it in. Ingest it if they did, and choose another --out."
        )
    catalog = Catalog.of(catalog)
    ids = _candidates(catalog)
    with storing(catalog.path):
        if bundle is None:
            recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
            photos = embedded_by_backbone(catalog, ids, recipe, weights, workers)
        else:
            bundle = ModelBundle.of(bundle)
            photos = embedded_by_bundle(catalog, ids, bundle, workers)
        fields = fields_of(catalog, photos, bundle)
        chosen = choose_typical(fields, n) if bundle is None else choose(fields)
        choices = list(track(islice(chosen, n), "choosing", "products", n))
        if not choices:
            raise CatalogError(
                f"{catalog.path}: every field of the products that may be trained on has a label or a decision. Ingest "
                "new products, or check labels with attire review."
            )
        table = _table(catalog, photos, choices)
        SUGGESTION_TABLE.save(catalog, table)
    if sheet is None:
        return Suggestions(table, None, 0, "")
    columns = worksheet_columns(catalog.taxonomy)
    rows = worksheet(catalog, table, columns)
    with storing(sheet):
        write_worksheet(sheet, rows)
    command = ingest_command(catalog, sheet, columns)
    return Suggestions(table, sheet, table["product"].n_unique() - len(rows), command)


def _candidates(catalog: Catalog) -> list[str]:
    """The products that may be asked for, at most `CANDIDATES`; raises `CatalogError` if there are none."""
    is_split = (catalog.path / MANIFEST).exists()
    trained = set(Splits.load(catalog).train if is_split else catalog.ids) - catalog.audited
    with_photos = catalog.products.filter(pl.col("images").list.len() > 0)["id"].to_list()
    ids = [id for id in with_photos if id in trained]
    if not ids:
        where = "the train split of the catalog" if is_split else "the catalog"
        raise CatalogError(f"{catalog.path}: {where} has no product with a readable photo. Ingest more products.")
    if len(ids) <= CANDIDATES:
        return ids
    drawn = np.random.default_rng(SEED).choice(len(ids), CANDIDATES, replace=False)
    return [ids[number] for number in sorted(drawn.tolist())]


def _table(catalog: Catalog, photos: Photos, choices: Sequence[Choice]) -> pl.DataFrame:
    keys = [CATEGORY, *catalog.taxonomy.keys]
    rows = [
        (catalog.ids[photos.rows[choice.row]], keys[field], gain)
        for choice in choices
        for field, gain in zip(choice.fields, choice.gains, strict=True)
    ]
    table = pl.DataFrame(rows, ["product", "key", "score"], orient="row")
    return table.with_row_index("rank", 1).select(list(SCHEMA)).cast(SCHEMA)
