"""The versions of a catalog: what each ingest, review and removal changed, and what the catalog then contained.

versions/0001.json      a `Version`: when, from which feed, how many products were added, changed, unchanged and gone
versions/0001.parquet   its `Content`: a row per product as the feeds state it, with its labels and reviews (zstd)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict

from attire.catalog.commit import settle
from attire.catalog.content import FIELD, IN_FORCE, LABELS, REVIEWED, Changes, Content
from attire.errors import CatalogError
from attire.files import file_sha256, read_parquet, replace_parquet, replace_text
from attire.records import read_as

VERSIONS = "versions"
ORIGINS: dict[str, Any] = {"since": pl.Int64, "when": pl.Datetime("us", "UTC"), "feed": pl.String}
Mode = Literal["replace", "update", "review", "remove"]


class Version(BaseModel):
    """A version: the feed was the whole truth (`mode` replace) or an update, or it is from a review or a removal.

    `digest` is that of the catalog, `content` that of the Parquet file. `feed_sha256` is None if the feed is a folder.
    Of a review, `feed` is the store; of a removal it is empty. `reviewed` is the number of fields whose reviewed value
    is new, other or withdrawn. `removed` are `id_digest`s of the products that a removal took out.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    number: int
    when: AwareDatetime
    attire: str
    feed: str
    feed_sha256: str | None
    mode: Mode
    added: int
    changed: int
    unchanged: int
    gone: int
    reviewed: int = 0
    removed: tuple[str, ...] = ()
    digest: str
    content: str


class Origin(NamedTuple):
    """Where a version is from; the fields are those of `Version`."""

    feed: str
    feed_sha256: str | None
    mode: Mode
    reviewed: int = 0
    removed: tuple[str, ...] = ()


def history(catalog: str | Path) -> list[Version]:
    """The versions of the catalog at that path, the oldest first; raises `CatalogError` if one cannot be read."""
    path = Path(catalog)
    with suppress(OSError):  # on a read-only disk the files say what they can
        settle(path)
    return sorted(map(_read, (path / VERSIONS).glob("*.json")), key=lambda entry: entry.number)


def next_number(versions: Iterable[Version]) -> int:
    """The number of the version that follows the `versions` of a catalog."""
    return 1 + max((entry.number for entry in versions), default=0)


def version_of(catalog: str | Path, number: int) -> Version:
    """One version of a catalog; raises `CatalogError` with the existing numbers if there is none."""
    versions = history(catalog)
    for found in versions:
        if found.number == number:
            return found
    known = f"it has {versions[0].number} to {versions[-1].number}" if versions else "it has none"
    raise CatalogError(f"{catalog} has no version {number}: {known}. 'attire history {catalog}' lists them.")


def read_content(catalog: str | Path, version: Version) -> Content:
    """The content of a version; raises `CatalogError` if its file is missing or damaged."""
    file = _file(Path(catalog), version.number)
    try:
        if file_sha256(file) != version.content:
            raise CatalogError(f"{file} was changed after ingest, so version {version.number} cannot be compared.")
        table = read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CatalogError(
            f"{file} cannot be read ({error}), so version {version.number} cannot be compared."
        ) from None
    return Content(
        table.drop("labels", "reviewed", strict=False),
        _nested(table, "labels", LABELS),
        _nested(table, "reviewed", REVIEWED) if "reviewed" in table.columns else pl.DataFrame(schema=REVIEWED),
    )


def _nested(table: pl.DataFrame, column: str, schema: dict[str, Any]) -> pl.DataFrame:
    rows = table.select("id", column).drop_nulls().explode(column).unnest(column)
    return rows.select(pl.col(name).cast(kind) for name, kind in schema.items())


def write_version(folder: Path, number: int, content: Content, changes: Changes, origin: Origin, digest: str) -> None:
    """Write a version to `folder`/versions; `digest` is that of the catalog."""
    file = _write_content(folder, number, content)
    record = Version(
        number=number,
        when=datetime.now(UTC).replace(microsecond=0),
        attire=version("attire"),
        **origin._asdict(),
        added=len(changes.added),
        changed=len(changes.changed),
        unchanged=changes.unchanged,
        gone=len(changes.gone),
        digest=digest,
        content=file_sha256(file),
    )
    replace_text(file.with_suffix(".json"), record.model_dump_json(indent=1))


def rewrite_version(folder: Path, version: Version, content: Content) -> None:
    """Write a version again to `folder`/versions, with other content."""
    file = _write_content(folder, version.number, content)
    changed = version.model_copy(update={"content": file_sha256(file)})
    replace_text(file.with_suffix(".json"), changed.model_dump_json(indent=1))


def id_digest(id: str) -> str:
    """A digest that stands for the id of a removed product, so that it is recognised when it comes back."""
    return hashlib.sha256(id.encode()).hexdigest()[:16]


def removed_before(versions: Iterable[Version], ids: Iterable[str]) -> list[str]:
    """Those of `ids` that a removal took out."""
    removed = {digest for version in versions for digest in version.removed}
    return [id for id in ids if id_digest(id) in removed] if removed else []


def _write_content(folder: Path, number: int, content: Content) -> Path:
    (folder / VERSIONS).mkdir(exist_ok=True)
    table = content.products
    for column, rows, schema in (("labels", content.labels, LABELS), ("reviewed", content.reviewed, REVIEWED)):
        cells = pl.struct(name for name in schema if name != "id").alias(column)
        of_product = rows.group_by("id", maintain_order=True).agg(cells)
        table = table.join(of_product, on="id", how="left", maintain_order="left")
    replace_parquet(file := _file(folder, number), table)
    return file


def origins(catalog: str | Path) -> pl.DataFrame:
    """Where the labels of a catalog are from: id, key, value, since (a version), when, feed, reviewer.

    The last four are null where they do not apply: labels that are older than the first version, labels of feeds.
    """
    versions = history(catalog)
    if not versions:
        raise CatalogError(f"{catalog} has no versions yet: ingest a feed into it with this version of attire.")
    known = pl.DataFrame([(entry.number, entry.when, entry.feed) for entry in versions], ORIGINS, orient="row")
    content = read_content(catalog, versions[-1])
    labels = content.in_force().labels.join(known, on="since", how="left", maintain_order="left")
    reviewers = content.reviewed.filter(pl.col("status") == IN_FORCE).select(*FIELD, "reviewer")
    return labels.join(reviewers, on=FIELD, how="left", maintain_order="left")


def _file(folder: Path, number: int) -> Path:
    return folder / VERSIONS / f"{number:04d}.parquet"


def _read(file: Path) -> Version:
    try:
        return read_as(file, Version)
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"{file} cannot be read ({error}). Remove it and its .parquet; the catalog works without."
        ) from None
