"""Check a taxonomy file, with the labels of its catalog if it has one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attire.catalog.check import check_known
from attire.catalog.drafting_warnings import DraftingWarning, drafting_warnings, usage_of
from attire.catalog.earlier import Earlier
from attire.catalog.store import TAXONOMY, read_manifest
from attire.errors import CatalogError
from attire.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class TaxonomyCheck:
    """A valid taxonomy, what to look at in it, and whether it is a catalog's and was edited since its last ingest."""

    taxonomy: Taxonomy
    warnings: tuple[DraftingWarning, ...]
    is_edited: bool = False


def check_taxonomy(source: str | Path) -> TaxonomyCheck:
    """Check a taxonomy.toml, or the one of a catalog, which may have been edited since the last ingest.

    Words are judged by themselves, and those of a catalog also by the labels that they would have. Raises
    `TaxonomyError` with all faults of an invalid taxonomy, and `CatalogError` for a damaged catalog.
    """
    path = Path(source)
    if not path.is_dir():
        taxonomy = Taxonomy.load(path)
        return TaxonomyCheck(taxonomy, tuple(drafting_warnings(taxonomy)))
    manifest, earlier = read_manifest(path), Earlier.read_whole(path)
    if manifest is None or earlier is None:
        raise CatalogError(f"{path} holds no finished catalog: expected the --out of an attire ingest, or a .toml.")
    taxonomy = Taxonomy.load(path / TAXONOMY)
    usage = usage_of(check_known(earlier.rows(), taxonomy).products)
    warnings = drafting_warnings(taxonomy, usage)
    return TaxonomyCheck(taxonomy, tuple(warnings), taxonomy.digest != manifest.taxonomy)
