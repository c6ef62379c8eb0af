"""Write the decisions of reviewers into a catalog, as a version of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attire.catalog.commit import writing
from attire.catalog.content import FIELD, REVIEWED, Changes, changes
from attire.catalog.earlier import Earlier
from attire.catalog.reviewed import Field, decided_anew, in_words_of
from attire.catalog.row_words import UnknownWord
from attire.catalog.store import TAXONOMY, Catalog
from attire.catalog.versions import Origin, history, next_number, read_content, write_version
from attire.catalog.writing import in_tables, write_catalog
from attire.errors import CatalogError
from attire.storage import not_written


@dataclass(frozen=True, slots=True)
class ReviewVersion:
    """The catalog; its version's `number`, None if there was nothing new; and how it differs from the one before.

    fields: the number of fields whose review is new, other or withdrawn; unknown: values that the taxonomy lacks.
    """

    catalog: Catalog
    number: int | None
    changes: Changes
    fields: int
    unknown: set[UnknownWord]


def write_reviews(out: Path, decisions: pl.DataFrame, undone: Collection[Field], store: str) -> ReviewVersion:
    """Add `decisions` (columns of `Content.reviewed`) to the catalog in `out`, and drop those of the fields `undone`.

    `store` names where they are from. After a kill at any moment the catalog is the old or the new one. Raises
    `CatalogError` if the catalog or a decision cannot be used, or if the catalog cannot be written.
    """
    try:
        with writing(out):
            catalog, earlier = Catalog.load(out), Earlier.read_whole(out)
            assert earlier is not None  # it has just been loaded
            before = earlier.content
            number = next_number(history(out))
            in_words, unknown = in_words_of(catalog.taxonomy, decisions)
            content = before._replace(reviewed=decided_anew(before.reviewed, in_words, undone, number))
            changed = changes(before.in_force(), content.in_force())
            fields = _differing(before.reviewed, content.reviewed)
            if content.reviewed.equals(before.reviewed):
                return ReviewVersion(catalog, None, changed, 0, unknown)
            origin = Origin(store, None, "review", reviewed=fields)

            def record(staged: Path, digest: str) -> None:
                write_version(staged, number, content, changed, origin, digest)

            toml = (out / TAXONOMY).read_text(encoding="utf-8")
            tables = in_tables(content, earlier.tables)
            catalog = write_catalog(out, catalog.taxonomy, toml, tables, earlier.manifest.source, record)
            return ReviewVersion(catalog, number, changed, fields, unknown)
    except OSError as error:
        raise CatalogError(not_written(f"the catalog {out}", error)) from error


def reviewed_in(catalog: Path, digest: object) -> pl.DataFrame:
    """The decisions (`Content.reviewed`) in the version of the catalog with that digest; none if there is no such."""
    version = next((entry for entry in reversed(history(catalog)) if entry.digest == digest), None)
    return pl.DataFrame(schema=REVIEWED) if version is None else read_content(catalog, version).reviewed


def _differing(before: pl.DataFrame, after: pl.DataFrame) -> int:
    """The number of fields with another row than before, or a row in only one of both."""
    columns = [*FIELD, "state", "values", "reviewer", "at", "sampled", "status"]
    same = before.join(after, on=columns, how="semi", nulls_equal=True)
    return len(pl.concat([before.select(FIELD), after.select(FIELD)]).unique()) - len(same)
