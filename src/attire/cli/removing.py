"""The verb that removes products."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from attire.cli.app import app, console, facts
from attire.errors import ConfigError


@app.command
def remove(
    catalog: Path,
    /,
    *ids: str,
    ids_from: Path | None = None,
    purge: Annotated[bool, Parameter(negative="")] = False,
    store: str | None = None,
    look_in: list[Path] | None = None,
) -> None:
    """Remove products from a catalog, as a version of it; with --purge from all that attire holds of them.

    Feeds, and photos in your own folders, are never touched.

    Parameters
    ----------
    ids
        Ids of products.
    ids_from
        Text file with an id in each line.
    purge
        Also erase them from earlier versions, unpacked photos, caches and the review store, and list the reports and
        bundles that hold something of them. A purge that was interrupted is finished by the next one.
    store
        The --store of attire review, by default CATALOG/review.sqlite.
    look_in
        Folders with reports and bundles, by default all next to the catalog.
    """
    from attire.removal.remove import remove as run

    removed = run(catalog, {*ids, *_read(ids_from)}, purge=purge, store=store, look_in=look_in)
    counts = {"products": str(removed.changes)}
    if removed.version is not None:
        counts["version"] = f"{removed.version}"
    if purge:
        counts |= {
            "purged products": f"{removed.purged:,}",
            "erased photo files": f"{removed.photos:,}",
            "erased cache entries": f"{removed.cached:,}",
            "redacted decisions": f"{removed.reviews:,}",
        }
    console.print(facts(counts))
    if removed.traces:
        console.print("These still hold something of the products; delete or make them again:")
        for path, what in removed.traces:
            console.print(f"  {path}: {what}", soft_wrap=True, highlight=False)
    if purge:
        console.print(
            "Feeds, your own photo folders, predictions, filled feeds, exports and backups are yours to clean.",
            soft_wrap=True,
        )


def _read(file: Path | None) -> list[str]:
    """The ids in a text file."""
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--ids-from {file} cannot be read: {error}. Expected a text file, an id in each line."
        ) from None
    return [line.strip() for line in lines if line.strip()]
