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


def main(data: Path, out: Path) -> None:
    """Ingest and split the photos and labels in `data` into the catalog `out`."""
    options = SourceOptions(ignore=("brand",))
    drafted = draft_taxonomy(list(SOURCES["table"](data / "public.csv", options))).taxonomy
    applicability = json.loads((data / "keys.json").read_text(encoding="utf-8"))
    keys = {
        name: key.model_copy(update={"categories": tuple(applicability[name]["categories"])})
        for name, key in drafted.keys.items()
    }
    taxonomy = out.with_suffix(".taxonomy.toml")
    taxonomy.parent.mkdir(parents=True, exist_ok=True)
    taxonomy.write_text(Taxonomy(categories=drafted.categories, keys=keys).to_toml(), encoding="utf-8")
    photos = [data / "public-0.tar", data / "public-1.tar"]
    catalog = attire.ingest(data / "public.csv", photos, out, taxonomy=taxonomy, options=options)
    attire.split(catalog, val=0.25, seed=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
