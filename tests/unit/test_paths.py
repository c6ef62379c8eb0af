"""Paths with glob characters are literal in every verb, even next to a path that they would match as a pattern."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from helpers.drawn_feed import draw_feed

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.evaluation.evaluate import evaluate
from attire.evaluation.evidence import Evidence
from attire.inference.bulk import predict
from attire.inference.inputs import read_products
from attire.review.data import ReviewData

COUNT = 24


def test_every_verb_in_a_folder_named_like_a_pattern(untrained: ModelBundle, tmp_path: Path) -> None:
    folder, other = tmp_path / "c[1]*t?", tmp_path / "c1art2"
    draw_feed(folder, COUNT)
    draw_feed(other, COUNT // 2, seed=1)
    words = tmp_path / "taxonomy.toml"
    words.write_text(untrained.taxonomy.to_toml())
    for path in (other, folder, other, folder):  # twice, so that the second ingest updates a catalog
        ingest(path / "feed.csv", path / "photos", path / "catalog", taxonomy=words)
    catalogs = [Catalog.load(path / "catalog") for path in (other, folder)]
    assert [len(catalog) for catalog in catalogs] == [COUNT // 2, COUNT]
    for catalog in catalogs:
        split(catalog, val=0.5)
    splits = Splits.load(catalogs[1])
    assert len(splits.train) + len(splits.val) == COUNT
    for suffix in (".csv", ".jsonl", ".parquet"):
        for path in (other, folder):
            predict(untrained, path / "catalog", path / f"p{suffix}", format="long", precision=None)
        assert len(ReviewData(catalogs[1], folder / f"p{suffix}").products) == COUNT
    for path, catalog in zip((other, folder), catalogs, strict=True):
        evaluate(untrained, catalog, "all", out=path / "report")
    assert len(Evidence.load(folder / "report").ids) == COUNT


def test_a_feed_and_archives_in_a_folder_named_like_a_pattern(untrained: ModelBundle, tmp_path: Path) -> None:
    for name, count in (("s1", 2), ("s[1]", 3), ("s*", 4)):
        draw_feed(tmp_path / name, count)
        shutil.make_archive(str(tmp_path / name / "photos"), "zip", tmp_path / name / "photos")
    for name, count in (("s[1]", 3), ("s*", 4)):
        folder, scratch = tmp_path / name, tmp_path / "scratch"
        with zipfile.ZipFile(folder / "photos.zip") as archive:
            photos = len(archive.namelist())
        assert len(list(read_products(folder / "photos.zip", scratch=scratch))) == photos
        result = predict(untrained, folder / "feed.csv", tmp_path / f"{count}.csv", images=folder / "photos.zip")
        assert (result.products, result.unread) == (count, 0)
