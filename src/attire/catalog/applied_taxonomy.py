"""The taxonomy that a catalog, a bundle or a file has.

A catalog's taxonomy.toml may have been edited since the last ingest. The taxonomy that its labels are in the words of
is kept as well, in versions/taxonomy-DIGEST.toml.
"""

from __future__ import annotations

from pathlib import Path

from attire.catalog.store import TAXONOMY, read_manifest
from attire.catalog.versions import VERSIONS
from attire.errors import CatalogError, TaxonomyError
from attire.files import read_json, replace_text
from attire.taxonomy import Taxonomy

BUNDLE = "bundle.json"
DIGITS = 12  # of the digest in the name of a file


def keep_taxonomy(folder: Path, taxonomy: Taxonomy) -> None:
    """Write the taxonomy to `folder`/versions."""
    file = _file(folder, taxonomy.digest)
    file.parent.mkdir(exist_ok=True)
    replace_text(file, taxonomy.to_toml())


def applied_taxonomy(catalog: Path) -> Taxonomy:
    """The taxonomy of a catalog's labels, even if taxonomy.toml was edited since the last ingest."""
    manifest = read_manifest(catalog)
    if manifest is None:
        raise CatalogError(f"{catalog} holds no finished catalog: expected the --out of an attire ingest.")
    for file in (catalog / TAXONOMY, _file(catalog, manifest.taxonomy)):
        if file.is_file():
            try:
                taxonomy = Taxonomy.load(file)
            except TaxonomyError:  # while it is edited; the other file is what counts
                continue
            if taxonomy.digest == manifest.taxonomy:
                return taxonomy
    raise CatalogError(
        f"{catalog / TAXONOMY} was edited after ingest, and {catalog} was written by an earlier attire, which kept no "
        "copy of it. Undo the edit and edit a copy, or name a copy of the earlier file as OLD, and --catalog."
    )


def is_bundle(path: Path) -> bool:
    """Whether the path is a bundle's."""
    return (path / BUNDLE).is_file()


def taxonomy_of(source: str | Path) -> Taxonomy:
    """The taxonomy of a taxonomy.toml, a catalog (as of its last ingest) or a bundle.

    Raises `TaxonomyError` if it is none of them or cannot be read, and `CatalogError` for a damaged catalog.
    """
    path = Path(source)
    if not path.is_dir():
        return Taxonomy.load(path)
    if not is_bundle(path):
        return applied_taxonomy(path)
    try:
        content = read_json(path / BUNDLE)
    except (OSError, ValueError) as error:
        raise TaxonomyError(f"cannot read the taxonomy of {path / BUNDLE}: {error}.") from None
    found = content.get("taxonomy") if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise TaxonomyError(f"{path / BUNDLE} has no taxonomy: expected the bundle.json of a bundle.")
    return Taxonomy.parse(found, str(path / BUNDLE))


def _file(folder: Path, digest: str) -> Path:
    return folder / VERSIONS / f"taxonomy-{digest[:DIGITS]}.toml"
