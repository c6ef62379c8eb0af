"""Writes decisions to files: a table of changes, and a corrected feed for `attire ingest`."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from attire.catalog.store import TAXONOMY, Catalog, Product
from attire.errors import ConfigError, TaxonomyError
from attire.files import replacing
from attire.review.data import joined, ordered
from attire.review.decisions import HINT, decisions_on
from attire.review.store.events import Decision, Store
from attire.spreadsheets import safe_text
from attire.taxonomy import CATEGORY, SEPARATOR

DIFF, FEED = "changes.csv", "feed.csv"
ROOTS = 8  # photo folders that are listed in the command before they are replaced by their common parent


@dataclass(frozen=True, slots=True)
class Exported:
    """The written files, the number of decided and of changed fields, and the command that ingests the feed."""

    diff: Path
    feed: Path
    decided: int
    changed: int
    command: str


def export(catalog: Catalog, store: Store, out: Path) -> Exported:
    """Write the table of changes, the feed and the taxonomy to `out`.

    In the feed, reviewed values replace labels, fields without a decision keep their label, and labels that were
    cleared or marked not applicable are removed. The result is the same before and after the decisions are applied to
    the catalog. Raises `ConfigError` if `out` cannot be written, or if the decisions do not fit the catalog.
    """
    decisions = decisions_on(catalog, store).decided
    catalog = catalog.before_review(store.held())
    by_product: dict[str, dict[str, Decision]] = {}
    for (product, key), decision in decisions.items():
        by_product.setdefault(product, {})[key] = decision
    _check(catalog, decisions)
    try:
        out.mkdir(parents=True, exist_ok=True)
        changes = list(_changes(catalog, by_product))
        safe_rows = ([safe_text(cell) for cell in row] for row in changes)  # people open this file in a spreadsheet
        _write(out / DIFF, ["id", "key", "before", "after", "state", "who", "when"], safe_rows)
        columns = _columns(catalog)
        keys = [*catalog.taxonomy.keys]
        _write(
            out / FEED,
            [*columns.values(), *keys],
            (_row(product, by_product.get(product.id, {}), keys) for product in catalog),
        )
        shutil.copyfile(catalog.path / TAXONOMY, out / TAXONOMY)
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror or error}. Free space or choose another --out."
        ) from error
    return Exported(out / DIFF, out / FEED, len(decisions), len(changes), _command(catalog, out, columns))


def _check(catalog: Catalog, decisions: Mapping[tuple[str, str], Decision]) -> None:
    """Raise `ConfigError` for decisions with keys or values that the catalog does not have."""
    for (product, key), decision in decisions.items():
        try:
            ordered(catalog, key, decision.values)
        except TaxonomyError as error:
            raise ConfigError(
                f"the store has a decision on product '{product}' that does not fit the taxonomy of {catalog.path}: "
                f"{error} Add the word to the taxonomy again. {HINT}"
            ) from None


def _changes(catalog: Catalog, by_product: Mapping[str, Mapping[str, Decision]]) -> Iterator[list[str]]:
    """Yield a row for every decided field whose value differs from the catalog's."""
    order = [CATEGORY, *catalog.taxonomy.keys]
    for id in sorted(by_product):
        product = catalog[id]
        for key in sorted(by_product[id], key=order.index):
            decision = by_product[id][key]
            before, after = _stated(catalog, product, key), joined(ordered(catalog, key, decision.values))
            if before != after:
                name = "category" if key == CATEGORY else key
                at = decision.at.isoformat(timespec="seconds")
                yield [id, name, before, after, decision.state, decision.reviewer, at]


def _stated(catalog: Catalog, product: Product, key: str) -> str:
    if key == CATEGORY:
        return product.category or ""
    return joined(ordered(catalog, key, product.labels.get(key, ())))


def _row(product: Product, decisions: Mapping[str, Decision], keys: Sequence[str]) -> list[str]:
    def values(key: str, stated: str) -> str:
        return joined(decisions[key].values) if key in decisions else stated

    return [
        product.id,
        product.group,
        values(CATEGORY, product.category or ""),
        product.title,
        SEPARATOR.join(product.images),
        *(values(key, joined(product.labels.get(key, ()))) for key in keys),
    ]


def _columns(catalog: Catalog) -> dict[str, str]:
    """Return the names of the feed's standard columns, renamed if an attribute key has the same name."""
    return {
        name: name if name not in catalog.taxonomy.keys else f"product {name}"
        for name in ("id", "group", "category", "title", "image")
    }


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _command(catalog: Catalog, out: Path, columns: Mapping[str, str]) -> str:
    renamed = [word for name, column in columns.items() if column != name for word in (f"--{name}", column)]
    words = ["attire", "ingest", out / FEED, "--images", *_roots(catalog), "--taxonomy", out / TAXONOMY, *renamed]
    return shlex.join([*map(str, words), "--out", "NEW_CATALOG"])


def _roots(catalog: Catalog) -> list[Path]:
    """Return the folders in which the photos are found under the names in the feed."""
    roots: dict[Path, None] = {}
    for name, stored_path in catalog.photos.select("name", "path").iter_rows():
        path = catalog.path / stored_path
        parts = PurePosixPath(name).parts
        depth = len(parts) if path.parts[-len(parts) :] == parts else 1
        roots[path.parents[depth - 1]] = None
    if len(roots) > ROOTS:
        return [Path(os.path.commonpath(list(roots)))]
    return list(roots)
