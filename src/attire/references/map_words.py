"""Write mapping.toml: the draft of a mapping, with what people have edited in an earlier one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attire.errors import ConfigError
from attire.files import locked, replace_text
from attire.references.loading import load_reference
from attire.references.mapping import Mapping
from attire.references.mapping_draft import MappingDraft, draft_mapping
from attire.references.reference import Shop
from attire.storage import not_written
from attire.taxonomy import Taxonomy


def map_words(taxonomy: Taxonomy, to: Shop, reference: Iterable[str | Path], out: str | Path) -> MappingDraft:
    """Draft a mapping of the taxonomy's words to those of a shop, and write it to `out`.

    `reference` are files of the published taxonomies (`load_reference`). What an existing `out` says stays. Raises
    `TaxonomyError` for a reference that cannot be read or used, and `ConfigError` if `out` is not a mapping for the
    shop, or cannot be written.
    """
    out = Path(out)
    published = load_reference(reference)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        busy = ConfigError(f"another attire taxonomy map is writing {out}: wait until it is done.")
        with locked(out.with_name(f".{out.name}.lock"), busy):
            earlier = Mapping.load(out) if out.exists() else None
            if earlier is not None and earlier.to != to:
                raise ConfigError(f"{out} maps to {earlier.to}. Choose another --out for {to}.")
            draft = draft_mapping(taxonomy, published, to, earlier)
            replace_text(out, draft.to_toml())
    except OSError as error:
        raise ConfigError(not_written(str(out), error)) from error
    return draft
