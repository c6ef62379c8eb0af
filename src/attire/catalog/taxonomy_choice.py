"""Choose the taxonomy to check a feed against: given by the user, edited by hand, or drafted from the feed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.catalog.reference_taxonomy import taxonomy_for
from attire.catalog.row_words import CheckedProduct
from attire.catalog.store import TAXONOMY, read_manifest
from attire.catalog.taxonomy_draft import draft_taxonomy, extend
from attire.errors import TaxonomyError, first_few, shown
from attire.references.loading import is_reference, load_reference
from attire.taxonomy import Taxonomy

EDIT = "Edit it (aliases, titles, where a key applies), then ingest again."
SHOWN = 10  # new words in a message
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaxonomyChoice:
    """The taxonomy, its file's text, and whether it was drafted, that is, nobody has edited it.

    published: it is a part of a published taxonomy, so that the feed may have words that it lacks.
    """

    taxonomy: Taxonomy
    toml: str
    drafted: bool
    published: bool = False

    def counting(self, products: Iterable[CheckedProduct], feed: str | Path) -> TaxonomyChoice:
        """With a drafted taxonomy, the same with the numbers of these `products` in the file's comments."""
        if not self.drafted:
            return self
        counts: Counter[tuple[str, str]] = Counter()
        for product in products:
            counts.update((key, value) for key, values in product.labels.items() for value in values)
            counts.update([("", product.category)] if product.category else [])
        heading = f"Drafted by attire, last extended by {Path(feed).name}. {EDIT}"
        return replace(self, toml=self.taxonomy.to_toml(heading, counts))


def load_or_draft(rows: Sequence[Row], given: Sequence[str | Path], out: Path, feed: str | Path) -> TaxonomyChoice:
    """The given taxonomy, or the one that was edited in `out`, or else a draft from the rows of the feed.

    `given` is a taxonomy.toml, or files of a published taxonomy, of which the feed's part is taken.
    """
    if any(map(is_reference, given)):
        return _of_reference(rows, given, out, feed)
    if (path := _path(given, out)) is not None:
        return _load(path)
    draft = draft_taxonomy(rows)
    if draft.unlabelled:
        logger.info("%s: keys without any label are left out: %s", feed, ", ".join(draft.unlabelled))
    heading = f"Drafted by attire from {Path(feed).name}. {EDIT}"
    return TaxonomyChoice(draft.taxonomy, draft.taxonomy.to_toml(heading, draft.counts), drafted=True)


def load_or_extend(
    rows: Sequence[Row], known: Sequence[Row], given: Sequence[str | Path], out: Path, feed: str | Path
) -> TaxonomyChoice:
    """The given taxonomy, or the one that was edited in `out`, or else the draft in `out` with new words appended.

    `rows` are those of the feed, `known` those of the catalog.
    """
    if given or _is_edited(out / TAXONOMY) or not (out / TAXONOMY).is_file():
        return load_or_draft([*rows, *known], given, out, feed)
    before = Taxonomy.load(out / TAXONOMY)
    taxonomy = extend(before, draft_taxonomy([*rows, *known]).taxonomy)
    if new := _new_words(before, taxonomy):
        logger.info(
            "%s: new words were appended to the drafted taxonomy: %s. Earlier values keep their order; a model that "
            "was trained before has its own taxonomy, so its values match by name.",
            feed,
            first_few(new, SHOWN),
        )
    return TaxonomyChoice(taxonomy, "", drafted=True)


def _path(given: Sequence[str | Path], out: Path) -> Path | None:
    if len(given) > 1:
        raise TaxonomyError(
            f"--taxonomy has {len(given)} files, {' and '.join(map(str, given))}. Expected one taxonomy.toml, or "
            "files of Shopify's taxonomy."
        )
    draft = out / TAXONOMY
    return Path(given[0]) if given else draft if _is_edited(draft) else None


def _of_reference(rows: Sequence[Row], given: Sequence[str | Path], out: Path, feed: str | Path) -> TaxonomyChoice:
    """The part of a published taxonomy that the feed needs. A taxonomy.toml that differs from it is never replaced."""
    taxonomy = taxonomy_for(load_reference(given), rows)
    path = out / TAXONOMY
    if path.is_file() and Taxonomy.load(path) != taxonomy:
        raise TaxonomyError(
            f"{path} exists, and differs from what --taxonomy gives for this feed. Leave --taxonomy out to use it, or "
            "remove it."
        )
    names = "\n".join(f"  {Path(path).name}" for path in given)
    heading = f"The part of a published taxonomy that {Path(feed).name} needs, from\n{names}\n{EDIT}"
    return TaxonomyChoice(taxonomy, taxonomy.to_toml(heading), drafted=False, published=True)


def _load(path: Path) -> TaxonomyChoice:
    return TaxonomyChoice(Taxonomy.load(path), path.read_text(encoding="utf-8"), drafted=False)


def _is_edited(path: Path) -> bool:
    """Whether there is a taxonomy at `path` that differs from the draft of an earlier ingest."""
    manifest = read_manifest(path.parent)
    return path.is_file() and (
        manifest is None or manifest.source.get("drafted_taxonomy") != Taxonomy.load(path).digest
    )


def _new_words(before: Taxonomy, after: Taxonomy) -> list[str]:
    words = [f"category '{shown(name)}'" for name in after.categories if name not in before.category_index]
    for name, key in after.keys.items():
        words += [f"{name} '{shown(value)}'" for value in key.values if (name, value) not in before.column_index]
    return words
