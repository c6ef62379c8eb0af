"""The demo: what is drawn looks like a real feed with its faults, and the whole job runs on it."""

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
    one, two, other = (draw_catalog(tmp_path / name, 20, seed) for name, seed in (("1", 3), ("2", 3), ("3", 4)))
    assert one.feed.read_text() == two.feed.read_text() != other.feed.read_text()
    for photo in one.photos.iterdir():
        assert photo.read_bytes() == (two.photos / photo.name).read_bytes()


def test_a_drawn_feed_has_the_faults_of_a_real_one(tmp_path: Path) -> None:
    drawn = draw_catalog(tmp_path, 150, seed=0)
    feed, truth = read(drawn.feed), read(drawn.truth)
    assert feed["id"].to_list() == truth["id"].to_list()
    assert set(feed["category"]) == set(KINDS)
    labels = [(said, true) for key in KEYS for said, true in zip(feed[key], truth[key], strict=True) if true]
    counts = Counter("empty" if not said else "same" if said == true else "other" for said, true in labels)
    assert 0.24 < counts["empty"] / len(labels) < 0.36
    assert 0.01 < counts["other"] / len(labels) < 0.08, "wrong labels and other spellings"
    named = {name for cell in feed["image"] for name in cell.split("|")}
    assert len(named - {photo.name for photo in drawn.photos.iterdir()}) == 1
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
    painted = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in sheet.getcolors(1 << 20) or []}  # type: ignore[misc]
    assert set(INK.values()) <= painted
    one_row = contact_sheet([Entry(tmp_path / "a.png", lines)] * 5, "Title")
    assert sheet.height > one_row.height
    assert sheet.width == one_row.width


def test_the_demo_runs_the_whole_job_and_again_costs_little(tmp_path: Path) -> None:
    steps: list[str] = []
    made = run_demo(tmp_path, products=60, epochs=4, step=steps.append)
    assert len(steps) == 6
    for path in (made.feed, made.catalog, made.bundle, made.predictions, made.report, made.sheet):
        assert path.exists()
    assert made.quarantined == 2, "one photo is cut off, one is not there"
    assert made.filled_right <= made.filled <= made.empty
    weights = (made.bundle / "weights.safetensors").read_bytes()
    again = run_demo(tmp_path, products=60, epochs=4)
    assert (again.bundle / "weights.safetensors").read_bytes() == weights
    assert again.scores.model_dump_json() == made.scores.model_dump_json()
