"""Ids, titles and words that look like paths, formulas, markup or code pass through every stage unchanged."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from helpers.fake_engines import MeanColour
from helpers.review_context import write_predictions
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.store import Catalog
from attire.inference.bulk import predict
from attire.review.app import open_review, review_app
from attire.review.export import export
from attire.review.options import Options
from attire.spreadsheets import read_csv, safe_text

IDS = sorted(
    [
        *(
            "../../etc/passwd",
            "/abs/id",
            "a/b",
            "..",
            "a\nb",
            "a\r\nb",
            "a\tb",
            "=1+1",
            "'=1+1",
            "@SUM(1)",
            "-5",
            "007",
        ),
        *("NA", "null", "a|b", "a,b", 'a"b', "<script>", "[/bold]", "\u202egnp", "e\u0301", "é", "👕", "x" * 1000),
        *("%2e%2e", "a?b&c#d", "{{ 7*7 }}", "C:\\x", "__proto__", "nul"),
    ]
)
WORDS = ["=cmd|x".replace("|", "!"), "<b>", "[/bold]", 'quo"te', "com,ma", "line\nbreak", "ein\u00a0Wort"]


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photos").mkdir()
    rows = []
    for number, id in enumerate(IDS):
        Image.new("RGB", (20, 30), (number * 8, 255 - number * 8, number % 7 * 30)).save(
            folder / f"photos/{number}.png"
        )
        labels = {
            "colour": WORDS[number % len(WORDS)],
            "tags": ["logo", "zip"],
            "category": "Shirts",
            "title": f"=1 [/b] {id}",
        }
        rows.append({"id": id, "image": f"{number}.png", **labels})
    (folder / "feed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "feed.jsonl"


@pytest.fixture(scope="module")
def odd(feed: Path) -> Catalog:
    return ingest(feed, feed.parent / "photos", feed.parent / "catalog")


def test_a_catalog_keeps_odd_texts(odd: Catalog) -> None:
    assert odd.ids == IDS
    assert {odd[id].title for id in IDS} == {f"=1 [/b] {id}" for id in IDS}
    assert set(odd.taxonomy.keys["colour"].values) == set(WORDS)
    assert all(odd[id].labels["colour"] for id in IDS)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("format", ["wide", "long"])
def test_predictions_keep_odd_texts(
    feed: Path, untrained: ModelBundle, tmp_path: Path, suffix: str, format: str
) -> None:
    out = tmp_path / f"out{suffix}"
    engine = MeanColour(untrained.taxonomy)
    predict(untrained, feed, out, images=[str(feed.parent / "photos")], format=format, engine=engine)  # type: ignore[arg-type]
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".csv": read_csv,
        ".jsonl": pl.read_ndjson,
        ".parquet": pl.read_parquet,
    }
    read = readers[suffix](out)
    assert read["id"].unique().sort().to_list() == IDS
    if suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            assert {row["id"] for row in csv.DictReader(file)} == {safe_text(id) for id in IDS}


def test_a_review_keeps_odd_texts(odd: Catalog, tmp_path: Path) -> None:
    predictions = write_predictions(odd, tmp_path / "p.parquet")
    context = open_review(odd.path, Options(predictions=predictions, store=str(tmp_path / "s.sqlite"), reviewer="Ann"))
    with TestClient(
        review_app(context), base_url="http://127.0.0.1:8100", headers={"Sec-Fetch-Site": "same-origin"}
    ) as ann:
        for number, id in enumerate(IDS):
            photo = ann.get("/photo", params={"product": id, "index": 0, "small": True})
            assert (photo.status_code, photo.headers["content-type"][:6]) == (200, "image/"), id
            value = WORDS[(number + 1) % len(WORDS)]
            verdict = {"product": id, "key": "colour", "action": "set", "values": [value], "version": 0}
            body = {"batch": f"{number:08}", "verdicts": [verdict], "page": "page-of-ann"}
            response = ann.post("/api/decide", json=body)
            assert response.status_code == 200, response.text
        for path in ("/", "/review?queue=all", "/grid?queue=all"):
            page = ann.get(path)
            assert page.status_code == 200
            assert "<script>=" not in page.text
            assert "<b>" not in page.text
    export(odd, context.store, tmp_path / "export")
    again = ingest(
        tmp_path / "export" / "feed.csv",
        odd.path.parent / "photos",
        tmp_path / "again",
        taxonomy=tmp_path / "export" / "taxonomy.toml",
    )
    assert again.ids == IDS
    labels = {id: again[id].labels["colour"] for id in IDS}
    assert labels == {id: (WORDS[(number + 1) % len(WORDS)],) for number, id in enumerate(IDS)}
    assert {again[id].title for id in IDS} == {f"=1 [/b] {id}" for id in IDS}
