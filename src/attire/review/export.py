"""Decisions as files: what changed, and a feed with the corrections that `attire ingest` reads back."""

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
from attire.review.data import CATEGORY, joined, ordered
from attire.review.store.events import Held, Store
from attire.spreadsheets import safe_text
from attire.taxonomy import SEPARATOR

DIFF, FEED = "changes.csv", "feed.csv"
ROOTS = 8  # folders of photos that a command line bears


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: `decided` fields, of which `changed` differ from the catalog; `command` reads the feed back."""

    diff: Path
    feed: Path
    decided: int
    changed: int
    command: str


def export(catalog: Catalog, store: Store, out: Path) -> Exported:
    """Write the label diff, the feed and the taxonomy to `out`.

    In the feed reviewed values win; what nobody reviewed keeps the label that it had; a label that a reviewer cleared,
    or found not applicable, is gone. Raises `ConfigError` where `out` cannot be written.
    """
    held = {field: said for field, said in store.held().items() if said.decided}
    by_product: dict[str, dict[str, Held]] = {}
    for (product, key), said in held.items():
        by_product.setdefault(product, {})[key] = said
    _check(catalog, held)
    try:
        out.mkdir(parents=True, exist_ok=True)
        changes = list(_changes(catalog, by_product))
        safe = ([safe_text(cell) for cell in row] for row in changes)  # people open it in a spreadsheet
        _write(out / DIFF, ["id", "key", "before", "after", "state", "who", "when"], safe)
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
    return Exported(out / DIFF, out / FEED, len(held), len(changes), _command(catalog, out, columns))


def _check(catalog: Catalog, held: Mapping[tuple[str, str], Held]) -> None:
    """Raise `ConfigError` for decisions on products, or in words, that the catalog lacks."""
    other = "is it the store of another catalog? Name the right one with --store."
    if strangers := {product for product, _ in held} - set(catalog.ids):
        raise ConfigError(
            f"the store has decisions on {len(strangers):,} products that are not in {catalog.path} "
            f"('{min(strangers)}'): {other}"
        )
    for (product, key), said in held.items():
        try:
            ordered(catalog, key, said.values)
        except TaxonomyError as error:
            raise ConfigError(
                f"the store has a decision on product '{product}' in other words than {catalog.path}: {error} Give "
                f"the word back to the taxonomy, or {other}"
            ) from None


def _changes(catalog: Catalog, by_product: Mapping[str, Mapping[str, Held]]) -> Iterator[list[str]]:
    """Every decided field whose value is not the catalog's."""
    order = [CATEGORY, *catalog.taxonomy.keys]
    for id in sorted(by_product):
        product = catalog[id]
        for key in sorted(by_product[id], key=order.index):
            said = by_product[id][key]
            before, after = _stated(catalog, product, key), joined(ordered(catalog, key, said.values))
            if before != after:
                name = "category" if key == CATEGORY else key
                yield [id, name, before, after, said.state, said.reviewer, said.at.isoformat(timespec="seconds")]


def _stated(catalog: Catalog, product: Product, key: str) -> str:
    if key == CATEGORY:
        return product.category or ""
    return joined(ordered(catalog, key, product.labels.get(key, ())))


def _row(product: Product, said: Mapping[str, Held], keys: Sequence[str]) -> list[str]:
    def values(key: str, stated: str) -> str:
        return joined(said[key].values) if key in said else stated

    return [
        product.id,
        product.group,
        values(CATEGORY, product.category or ""),
        product.title,
        SEPARATOR.join(product.images),
        *(values(key, joined(product.labels.get(key, ()))) for key in keys),
    ]


def _columns(catalog: Catalog) -> dict[str, str]:
    """What the feed calls the product's own columns; an attribute key may have taken the usual name."""
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
    """Folders below which each photo lies under the name that the feed gives it."""
    roots: dict[Path, None] = {}
    for name, stored in catalog.photos.select("name", "path").iter_rows():
        path = catalog.path / stored
        parts = PurePosixPath(name).parts
        below = len(parts) if path.parts[-len(parts) :] == parts else 1
        roots[path.parents[below - 1]] = None
    if len(roots) > ROOTS:
        return [Path(os.path.commonpath(list(roots)))]
    return list(roots)
