"""The demo: the drawn feed has the faults of a real one, and all steps run on it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from attire.demo.contact_sheet import INK, Entry, Line, contact_sheet
from attire.demo.draw import KEYS, KINDS, draw_catalog
from attire.demo.run import run_demo


def read(table: Path) -> pl.DataFrame:
    return pl.read_csv(table, infer_schema=False)


def test_equal_seeds_draw_equal_catalogs(tmp_path: Path) -> None:
    first, second, other = (draw_catalog(tmp_path / name, 8, seed) for name, seed in (("1", 3), ("2", 3), ("3", 4)))
    assert first.feed.read_text() == second.feed.read_text() != other.feed.read_text()
    for photo in first.photos.iterdir():
        assert photo.read_bytes() == (second.photos / photo.name).read_bytes()


def test_a_drawn_feed_has_the_faults_of_a_real_one(tmp_path: Path) -> None:
    drawn = draw_catalog(tmp_path, 150, seed=0)
    feed, truth = read(drawn.feed), read(drawn.truth)
    assert feed["id"].to_list() == truth["id"].to_list()
    assert set(feed["category"]) == set(KINDS)
    labels = [(stated, true) for key in KEYS for stated, true in zip(feed[key], truth[key], strict=True) if true]
    counts = Counter("empty" if not stated else "same" if stated == true else "other" for stated, true in labels)
    assert 0.24 < counts["empty"] / len(labels) < 0.36
    assert 0.01 < counts["other"] / len(labels) < 0.08, "wrong labels and other spellings"
    names = {name for cell in feed["image"] for name in cell.split("|")}
    assert len(names - {photo.name for photo in drawn.photos.iterdir()}) == 1
    assert feed["group"].n_unique() < len(feed), "variants share a group"


def test_a_value_is_visible_in_the_photo(tmp_path: Path) -> None:
    drawn = draw_catalog(tmp_path, 60, seed=1)
    colours: dict[str, list[float]] = {}
    for id, colour in read(drawn.truth).select("id", "colour").iter_rows():
        photo = drawn.photos / f"{id}.jpg"
        if photo.is_file() and photo.stat().st_size > 2500:
            with Image.open(photo) as image:
                colours.setdefault(colour, []).append(float(np.asarray(image.convert("L"))[70:110, 60:100].mean()))
    assert np.mean(colours["white"]) > np.mean(colours["black"]) + 60


def test_the_contact_sheet_shows_each_verdict_in_its_colour(tmp_path: Path) -> None:
    Image.new("RGB", (60, 80), "white").save(tmp_path / "a.png")
    lines = [Line("neck: V", 0.9, "right"), Line("neck: U", 0.6, "wrong"), Line("fit: slim", 0.7, "filled")]
    sheet = contact_sheet([Entry(tmp_path / "a.png", lines)] * 6, "Title")
    colours = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in sheet.getcolors(1 << 20) or []}  # type: ignore[misc]
    assert set(INK.values()) <= colours
    one_row = contact_sheet([Entry(tmp_path / "a.png", lines)] * 5, "Title")
    assert sheet.height > one_row.height
    assert sheet.width == one_row.width


def test_a_second_demo_reuses_the_first(tmp_path: Path) -> None:
    steps: list[str] = []
    first = run_demo(tmp_path, products=60, epochs=4, step=steps.append)
    assert len(steps) == 7
    for path in (
        first.feed,
        first.catalog,
        first.bundle,
        first.predictions,
        first.filled_feed,
        first.report,
        first.sheet,
    ):
        assert path.exists()
    assert first.quarantined == 2, "one photo is truncated, one is missing"
    assert first.filled_right <= first.filled <= first.empty
    weights = (first.bundle / "weights.safetensors").read_bytes()
    again = run_demo(tmp_path, products=60, epochs=4)
    assert (again.bundle / "weights.safetensors").read_bytes() == weights
    assert again.scores.model_dump_json() == first.scores.model_dump_json()
