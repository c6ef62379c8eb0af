"""Ingest the benchmark catalog myntra26, with key applicability from its keys.json, split 75/25 with seed 7.

python benchmarks/myntra26.py ../shared/benchmarks/myntra26 CATALOG
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attire
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.taxonomy_draft import draft_taxonomy
from attire.taxonomy import Taxonomy

OPTIONS = SourceOptions(ignore=("brand",))


def draft(data: Path, file: Path) -> None:
    """Write the taxonomy of myntra26 to `file`."""
    drafted = draft_taxonomy(list(SOURCES["table"](data / "public.csv", OPTIONS))).taxonomy
    applicability = json.loads((data / "keys.json").read_text(encoding="utf-8"))
    keys = {
        name: key.model_copy(update={"categories": tuple(applicability[name]["categories"])})
        for name, key in drafted.keys.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(Taxonomy(categories=drafted.categories, keys=keys).to_toml(), encoding="utf-8")


def main(data: Path, out: Path) -> None:
    """Ingest and split the photos and labels in `data` into the catalog `out`."""
    taxonomy = out.with_suffix(".taxonomy.toml")
    draft(data, taxonomy)
    photos = [data / "public-0.tar", data / "public-1.tar"]
    catalog = attire.ingest(data / "public.csv", photos, out, taxonomy=taxonomy, options=OPTIONS)
    attire.split(catalog, val=0.25, seed=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
