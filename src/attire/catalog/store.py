"""The catalog on disk: products, labels and photos as Parquet, with a manifest that is written last.

manifest.json        digests of the other files; the catalog is complete if they match
taxonomy.toml        the taxonomy, for people to edit (then run ingest again)
products.parquet     id, group, category, title, images
labels.parquet       id, key, value: one row for each stated value
photos.parquet       name, path, sha256, width, height, ...: the readable photos
quarantine.parquet   kind (row, photo, product), id, name, row, reason: unusable rows, photos and products
reviewed.parquet     fields that reviewers decided, after `attire review apply` (content.py)
photos/              photos unpacked from archives
versions/            what each finished ingest, review and removal changed (versions.py)
purge.json           what an interrupted `attire remove --purge` still has to remove (removal.py)
new-words.toml       words that the last update left out (new_words.py)
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from attire.catalog.commit import MANIFEST as MANIFEST
from attire.catalog.commit import PURGE, settle
from attire.catalog.content import FIELD, REVIEWED
from attire.catalog.version_diff import Difference, difference
from attire.catalog.versions import Version, history, origins, read_content, removed_before
from attire.errors import CatalogError, did_you_mean
from attire.files import file_sha256, read_json, read_parquet
from attire.labels import Targets, encode
from attire.records import checked
from attire.taxonomy import Taxonomy

TAXONOMY, REVIEWS = "taxonomy.toml", "reviewed"
TABLES: dict[str, dict[str, Any]] = {
    "products": {
        "id": pl.String,
        "group": pl.String,
        "category": pl.String,
        "title": pl.String,
        "images": pl.List(pl.String),
    },
    "labels": {"id": pl.String, "key": pl.String, "value": pl.String},
    "photos": {
        "name": pl.String,
        "path": pl.String,
        "bytes": pl.Int64,
        "modified_ns": pl.Int64,
        "sha256": pl.String,
        "format": pl.String,
        "width": pl.Int32,
        "height": pl.Int32,
        "phash": pl.Binary,
        "thumb": pl.Binary,
    },
    "quarantine": {"kind": pl.String, "id": pl.String, "name": pl.String, "row": pl.Int64, "reason": pl.String},
}


logger = logging.getLogger(__name__)


class Manifest(BaseModel):
    """The manifest of a finished catalog: digests of the content, the taxonomy and the tables, and the source."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    attire: str
    digest: str
    taxonomy: str
    tables: dict[str, str]
    rows: dict[str, int]
    source: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Product:
    """One product: `labels` in the words of the taxonomy, `images` the names of its readable photos."""

    id: str
    group: str
    category: str | None
    labels: dict[str, tuple[str, ...]]
    images: tuple[str, ...]
    title: str


class Catalog:
    """A complete catalog, opened for reading. Products are sorted by id.

    Tables are read on first use, which raises `CatalogError` if ingest has changed them since the catalog was opened.
    """

    def __init__(self, path: Path, taxonomy: Taxonomy, digest: str, *, has_reviews: bool = False) -> None:
        self.path, self.taxonomy, self.digest = path, taxonomy, digest
        self._stamps = {name: _stamp(path / f"{name}.parquet") for name in TABLES}
        if has_reviews:
            self._stamps[REVIEWS] = _stamp(path / f"{REVIEWS}.parquet")

    @classmethod
    def of(cls, catalog: Catalog | str | Path) -> Catalog:
        """Return the catalog itself, or open the one at that path."""
        return cls.load(catalog) if isinstance(catalog, str | Path) else catalog

    @classmethod
    def load(cls, path: str | Path) -> Catalog:
        """Read and verify the catalog at `path`; raises `CatalogError` if it is missing, unfinished or changed."""
        catalog = cls.verified(path)
        if (catalog.path / PURGE).exists():
            logger.warning(
                "%s: products were purged, but the purge was interrupted, so that traces of them are left. Finish it "
                "with 'attire remove %s --purge'.",
                path,
                path,
            )
        return catalog

    @classmethod
    def verified(cls, path: str | Path) -> Catalog:
        """`load`, without a warning of an interrupted purge, for the process that is at it."""
        path = Path(path)
        with suppress(OSError):  # on a read-only disk, an unfinished catalog is reported below
            settle(path)
        again = "run 'attire ingest' again"
        manifest = read_manifest(path)
        if manifest is None:
            fault = "holds no finished catalog" if path.is_dir() else "does not exist"
            raise CatalogError(f"{path} {fault}: {again} (it continues where it stopped).")
        taxonomy = Taxonomy.load(path / TAXONOMY)
        if taxonomy.digest != manifest.taxonomy:
            raise CatalogError(f"{path / TAXONOMY} was edited after ingest: {again} to apply it.")
        for name in {*TABLES, *manifest.tables}:
            file = path / f"{name}.parquet"
            if not file.is_file() or file_sha256(file) != manifest.tables.get(name):
                raise CatalogError(f"{file} is missing or was changed after ingest: {again}.")
        return cls(path, taxonomy, manifest.digest, has_reviews=REVIEWS in manifest.tables)

    @cached_property
    def products(self) -> pl.DataFrame:
        """A row per product: `id`, `group`, `category` (null if unknown), `title`, `images`."""
        return self._read("products")

    @cached_property
    def labels(self) -> pl.DataFrame:
        """A row per stated value: `id`, `key`, `value`."""
        return self._read("labels")

    @cached_property
    def photos(self) -> pl.DataFrame:
        """A row per readable photo: `name`, `path`, `sha256`, size, fingerprints."""
        return self._read("photos")

    @cached_property
    def quarantine(self) -> pl.DataFrame:
        """Unusable rows, photos and products: `kind` (row, photo, product), `id`, `name`, `row`, `reason`."""
        return self._read("quarantine")

    @cached_property
    def reviewed(self) -> pl.DataFrame:
        """A row per field that a reviewer decided (`attire review apply`), with the columns of `Content.reviewed`."""
        return self._read(REVIEWS) if REVIEWS in self._stamps else pl.DataFrame(schema=REVIEWED)

    @cached_property
    def audited(self) -> frozenset[str]:
        """Ids of products that nothing is trained on: a field of the random sample was judged in their group."""
        judged = self.reviewed.filter("sampled").select("id")
        groups = self.products.join(judged, on="id", how="semi").select("group")
        return frozenset(self.products.join(groups, on="group", how="semi")["id"])

    def had(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that are of products of an earlier version, or of removed products."""
        versions = self.history()
        earlier = {id for entry in versions for id in read_content(self.path, entry).products["id"]}
        return earlier.intersection(ids).union(removed_before(versions, ids))

    def before_review(self, fields: Collection[tuple[str, str]]) -> Catalog:
        """The catalog with what the feeds state in these fields (product id, key), whatever reviewers decided."""
        chosen = pl.DataFrame(list(fields), dict.fromkeys(FIELD, pl.String), orient="row")
        others = self.reviewed.join(chosen, on=FIELD, how="anti")
        last = next((entry for entry in reversed(self.history()) if entry.digest == self.digest), None)
        if len(others) == len(self.reviewed) or last is None:
            return self
        stated = read_content(self.path, last)._replace(reviewed=others).in_force()
        copy = Catalog(self.path, self.taxonomy, self.digest, has_reviews=True)
        copy.products = self.products.with_columns(stated.products["category"])
        copy.labels = stated.labels.select([*TABLES["labels"]])
        return copy

    @cached_property
    def _files(self) -> pl.DataFrame:
        return self._read("photos", ["name", "path"])  # without fingerprints, which are most of the table

    def _read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        file = self.path / f"{name}.parquet"
        table = read_parquet(file, columns)
        if _stamp(file) != self._stamps[name]:
            raise CatalogError(f"{file} has changed since the catalog was opened: run the command again.")
        return table

    @cached_property
    def ids(self) -> list[str]:
        """Product ids, sorted."""
        return self.products["id"].to_list()

    @cached_property
    def _labels_of(self) -> dict[str, dict[str, tuple[str, ...]]]:
        labels_of: dict[str, dict[str, tuple[str, ...]]] = {}
        for id, key, value in self.labels.iter_rows():
            labels = labels_of.setdefault(id, {})
            labels[key] = (*labels.get(key, ()), value)
        return labels_of

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """int64: the row of each id in `products`; raises `CatalogError` for an unknown id."""
        known, wanted = self.products["id"], pl.Series(ids, dtype=pl.String)
        rows = known.search_sorted(wanted).to_numpy().astype(np.int64)
        is_known = rows < len(known)
        is_known[is_known] = (known.gather(rows[is_known]) == wanted.filter(is_known)).to_numpy()
        if not is_known.all():
            unknown = wanted.filter(~is_known)[0]
            raise CatalogError(f"{self.path} has no product '{unknown}'{did_you_mean(unknown, self.ids[:10000])}")
        return rows

    def targets(self) -> Targets:
        """The labels of all products, as numpy arrays in the order of `ids`."""
        labels = self._labels_of
        return encode(self.taxonomy, self.products["category"].to_list(), [labels.get(id, {}) for id in self.ids])

    def photo_paths(self, rows: NDArray[np.int64] | None = None) -> list[tuple[Path, ...]]:
        """The readable photos of the products at `rows`, or of all products in the order of `ids`; may be empty."""
        return [tuple(self.path / path for path in paths) for paths in self._of_photos(self._files, "path", rows)]

    def photo_digests(self) -> list[tuple[str, ...]]:
        """The SHA-256 of each photo in `photo_paths`."""
        return list(self._of_photos(self.photos, "sha256"))

    def _of_photos(
        self, photos: pl.DataFrame, column: str, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[str, ...]]:
        """The values of a column for the photos of each product. Ingest sorts `photos` by name."""
        images = self.products["images"] if rows is None else self.products["images"].gather(rows)
        names = images.explode().drop_nulls()
        values = iter(photos[column].gather(photos["name"].search_sorted(names)).to_list())
        return (tuple(islice(values, count)) for count in images.list.len().to_list())

    def history(self) -> list[Version]:
        """What each ingest, review and removal changed, the oldest first. Catalogs of an earlier attire have none."""
        return history(self.path)

    def diff(self, before: int, after: int) -> Difference:
        """What changed from one version to another, by their numbers in `history`."""
        return difference(self.path, before, after)

    def origins(self) -> pl.DataFrame:
        """Where each label is from: `id`, `key`, `value`, the version that first had it, and its `reviewer`.

        The columns `since`, `when` and `feed` are those of the version; they are null for labels that are older than
        the first one. `reviewer` is null for labels of feeds. A label that is withdrawn and stated again later counts
        from then.
        """
        return origins(self.path)

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, id: str) -> Product:
        row = self.products.row(int(self.rows_of([id])[0]), named=True)
        return Product(**{**row, "images": tuple(row["images"]), "labels": self._labels_of.get(id, {})})

    def __iter__(self) -> Iterator[Product]:
        return (self[id] for id in self.ids)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of a finished catalog, or None if there is none; raises `CatalogError` if it cannot be read."""
    file = path / MANIFEST
    try:
        content = read_json(file)
        if isinstance(content, dict) and content.get("format", 1) != 1:
            raise CatalogError(f"{path} has catalog format {content['format']!r}, expected 1: update attire.")
        return checked(content, Manifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise CatalogError(f"{file} cannot be read ({error}): remove it, and run 'attire ingest' again.") from None


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
