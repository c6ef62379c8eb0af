"""The versions of a catalog: what each finished ingest changed, and what the catalog then contained.

versions/0001.json      a `Version`: when, from which feed, how many products were added, changed, unchanged and gone
versions/0001.parquet   its `Content`: a row per product as the feeds state it, with its labels, compressed (zstd)
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict

from attire.catalog.commit import settle
from attire.catalog.content import LABELS, Changes, Content
from attire.errors import CatalogError
from attire.files import file_sha256, read_parquet, replace_parquet, replace_text
from attire.records import read_as

VERSIONS = "versions"
ORIGINS: dict[str, Any] = {"since": pl.Int64, "when": pl.Datetime("us", "UTC"), "feed": pl.String}
Mode = Literal["replace", "update"]


class Version(BaseModel):
    """One finished ingest: `mode` says whether the feed was the whole truth (replace) or an update.

    `digest` is that of the catalog, `content` that of the Parquet file. `feed_sha256` is None if the feed is a folder.
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
    digest: str
    content: str


class Origin(NamedTuple):
    """Where a version is from: the path of the feed, its SHA-256 (None for a folder), and the mode."""

    feed: str
    feed_sha256: str | None
    mode: Mode


def history(catalog: str | Path) -> list[Version]:
    """The versions of the catalog at that path, the oldest first; raises `CatalogError` if one cannot be read."""
    path = Path(catalog)
    with suppress(OSError):  # on a read-only disk the files say what they can
        settle(path)
    return sorted(map(_read, (path / VERSIONS).glob("*.json")), key=lambda entry: entry.number)


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
    labels = table.select("id", "labels").drop_nulls().explode("labels").unnest("labels")
    return Content(table.drop("labels"), labels.select(pl.col(name).cast(kind) for name, kind in LABELS.items()))


def write_version(folder: Path, number: int, content: Content, changes: Changes, origin: Origin, digest: str) -> None:
    """Write a version to `folder`/versions; `digest` is that of the catalog."""
    (folder / VERSIONS).mkdir(exist_ok=True)
    file = _file(folder, number)
    labels = content.labels.group_by("id", maintain_order=True).agg(labels=pl.struct("key", "value", "since"))
    replace_parquet(file, content.products.join(labels, on="id", how="left", maintain_order="left"))
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


def origins(catalog: str | Path) -> pl.DataFrame:
    """Where the labels of a catalog are from: id, key, value, since (a version), when, feed.

    The last three are null for labels that are older than the first version.
    """
    versions = history(catalog)
    if not versions:
        raise CatalogError(f"{catalog} has no versions yet: ingest a feed into it with this version of attire.")
    known = pl.DataFrame([(entry.number, entry.when, entry.feed) for entry in versions], ORIGINS, orient="row")
    labels = read_content(catalog, versions[-1]).labels
    return labels.join(known, on="since", how="left", maintain_order="left")


def _file(folder: Path, number: int) -> Path:
    return folder / VERSIONS / f"{number:04d}.parquet"


def _read(file: Path) -> Version:
    try:
        return read_as(file, Version)
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"{file} cannot be read ({error}). Remove it and its .parquet; the catalog works without."
        ) from None
