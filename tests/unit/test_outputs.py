"""What bulk prediction writes: by one run at a time, of exactly what it says, and never over something else."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fake_engines import MeanColour
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.engines.engine import Bytes, Floats
from attire.errors import ConfigError
from attire.files import locked
from attire.inference import bulk, chunks
from attire.inference.bulk import Summary, predict
from attire.inference.chunks import Chunks, Origin
from attire.inference.output import SINKS
from attire.inference.run_record import RunSettings
from attire.spreadsheets import read_csv
from attire.taxonomy import Taxonomy

CHUNK, COUNT = 4, 10


class Dying(MeanColour):
    """An engine that computes so many photos and is killed."""

    def __init__(self, taxonomy: Taxonomy, photos: int) -> None:
        super().__init__(taxonomy)
        self.most = photos

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        if self.photos >= self.most:
            raise KeyboardInterrupt
        return super().logits(pixels)


class Shop:
    """Ten photos in a folder, and the bundle that is asked about them in chunks of four."""

    def __init__(self, folder: Path, bundle: ModelBundle) -> None:
        self.folder, self.bundle = folder, bundle
        self.photos = folder / "photos"
        self.photos.mkdir()
        for number in range(COUNT):
            self.draw(number, number)
        self.out = folder / "o.csv"

    def draw(self, number: int, colour: int) -> None:
        Image.new("RGB", (8, 8), (25 * colour, 255 - 25 * colour, 100)).save(self.photos / f"{number}.png")

    def predict(self, engine: MeanColour | None = None, **options: Any) -> tuple[Summary, int]:
        """What came of it, and how many photos were computed."""
        engine = engine or MeanColour(self.bundle.taxonomy)
        out = options.pop("out", self.out)
        return predict(options.pop("bundle", self.bundle), self.photos, out, engine=engine, **options), engine.photos

    def kill(self, photos: int, **options: Any) -> None:
        """A run that is killed after so many photos."""
        with pytest.raises(KeyboardInterrupt):
            self.predict(Dying(self.bundle.taxonomy, photos), batch_size=1, **options)


@pytest.fixture
def shop(untrained: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(bulk, "CHUNK", CHUNK)
    return Shop(tmp_path, untrained)


def test_a_second_run_with_one_output_is_refused_at_once(shop: Shop) -> None:
    with locked(shop.folder / ".o.csv.lock"), pytest.raises(ConfigError, match="another attire predict is writing"):
        shop.predict()
    assert not (shop.folder / "o.csv.chunks").exists()
    assert shop.predict()[0].products == COUNT
    assert not (shop.folder / ".o.csv.lock").exists()


@pytest.mark.parametrize(
    "other", [{"format": "long"}, {"precision": None}, {"bundle": "other"}, {"engine": "other"}], ids=str
)
def test_parts_of_other_work_do_not_count(shop: Shop, other: dict[str, Any]) -> None:
    shop.kill(9)
    engine = MeanColour(shop.bundle.taxonomy)
    if other.pop("engine", None):
        engine.name = "other"
    if other.pop("bundle", None):
        other["bundle"] = copy(shop.bundle)
        other["bundle"].digest = "0" * 64
    made, photos = shop.predict(engine, **other)
    assert (made.resumed, photos) == (0, COUNT)
    shop.predict(engine, out=shop.folder / "whole.csv", **other)
    assert shop.out.read_bytes() == (shop.folder / "whole.csv").read_bytes()


def test_only_parts_whose_photos_were_replaced_are_made_again(shop: Shop) -> None:
    shop.kill(9)
    assert len(list((shop.folder / "o.csv.chunks").glob("0*.parquet"))) == 2
    shop.draw(1, 9)
    made, photos = shop.predict()
    assert (made.products, made.resumed, photos) == (COUNT, CHUNK, COUNT - CHUNK)
    shop.predict(out=shop.folder / "whole.csv")
    assert shop.out.read_bytes() == (shop.folder / "whole.csv").read_bytes(), "as if it had not been killed"


def test_a_photo_that_is_gone_or_new_is_no_photo_of_a_part(shop: Shop) -> None:
    shop.kill(9)
    (shop.photos / "2.png").unlink()
    assert shop.predict()[0].resumed == 0, "all products have moved up"
    assert read_csv(shop.out)["id"].to_list() == [str(n) for n in range(COUNT) if n != 2]


def test_a_damaged_part_is_made_again(shop: Shop) -> None:
    shop.kill(9)
    first, second = sorted((shop.folder / "o.csv.chunks").glob("0*.parquet"))
    first.write_bytes(first.read_bytes()[:-20])
    pl.DataFrame({"id": ["x"]}).write_parquet(second, metadata={chunks.METADATA_KEY: "[" * 5000})
    assert shop.predict()[0].resumed == 0


def test_parts_that_were_changed_meanwhile_are_not_joined(tmp_path: Path) -> None:
    work = RunSettings(attire="1", bundle="b", engine="torch", format="wide", precision=None)
    mine = Chunks(tmp_path / "chunks", 2, lambda number: Origin(work, str(number)))
    mine.resume()
    rows = pl.DataFrame({"id": ["a"]})
    other = work.model_copy(update={"engine": "onnx"})
    for number, origin in enumerate([mine.origin(0), Origin(other, "1")]):
        mine.add(number, chunks.encode(rows, origin, chunks.Counts(1, 0, 0, 0)))
    with pytest.raises(ConfigError, match="was changed while its chunks were made"):
        mine.counts()
    mine.add(2, chunks.encode(rows, mine.origin(2), chunks.Counts(1, 0, 0, 0)))
    (tmp_path / "chunks" / "000001.parquet").unlink()
    with pytest.raises(ConfigError, match="was changed while its chunks were made"):
        mine.counts()


def test_what_is_finished_is_not_computed_again(shop: Shop) -> None:
    first, _ = shop.predict()
    content = shop.out.read_bytes()
    again, photos = shop.predict()
    assert (again.products, again.unread, again.resumed, photos) == (COUNT, first.unread, COUNT, 0)
    assert shop.out.read_bytes() == content
    assert shop.predict(overwrite=True)[1] == COUNT, "it is where that is asked for"
    assert {path.name for path in shop.folder.iterdir()} == {"photos", "o.csv", "o.csv.json"}


def _replaced_photo(shop: Shop) -> None:
    shop.draw(0, 9)


def _edited(shop: Shop) -> None:
    shop.out.write_text(shop.out.read_text() + "x\n")


def _without_record(shop: Shop) -> None:
    shop.out.with_name("o.csv.json").unlink()


def _record(content: str) -> Callable[[Shop], None]:
    def write(shop: Shop) -> None:
        shop.out.with_name("o.csv.json").write_text(content)

    return write


@pytest.mark.parametrize(
    ("meanwhile", "options", "told"),
    [
        (None, {"format": "long"}, r"is finished and was made otherwise: format wide \(now long\)\. --overwrite"),
        (None, {"precision": None}, r"precision 0\.95 \(now None\)"),
        (_replaced_photo, {}, "holds other products, or was made from other photos"),
        (_edited, {}, "was changed after attire predict had finished it"),
        (_without_record, {}, r"was not written by attire predict, for there is no o\.csv\.json"),
        (_record("{"), {}, r"has a record that is damaged or of another version, o\.csv\.json: "),
        (_record("[" * 100_000), {}, r"a record that is damaged or of another version, o\.csv\.json: nested too"),
        (_record("1" * 5000), {}, r"a record that is damaged or of another version, o\.csv\.json: number out of range"),
        (_record('{"products": 10}'), {}, r"damaged or of another version, o\.csv\.json: work: "),
    ],
)
def test_another_output_is_not_replaced_without_a_word(
    shop: Shop, meanwhile: Callable[[Shop], None] | None, options: dict[str, Any], told: str
) -> None:
    shop.predict()
    if meanwhile is not None:
        meanwhile(shop)
    content = shop.out.read_bytes()
    with pytest.raises(ConfigError, match=told):
        shop.predict(**options)
    assert shop.out.read_bytes() == content
    assert not (shop.folder / "o.csv.chunks").exists()
    shop.predict(overwrite=True, **options)
    shop.predict(out=shop.folder / "whole.csv", **options)
    assert shop.out.read_bytes() == (shop.folder / "whole.csv").read_bytes()


def test_what_overwrites_goes_on_after_a_kill(shop: Shop) -> None:
    shop.predict(format="long")
    content = shop.out.read_bytes()
    shop.kill(9, overwrite=True)
    assert shop.out.read_bytes() == content, "until the new one is finished"
    assert shop.predict(overwrite=True)[0].resumed == 2 * CHUNK


def test_a_kill_between_an_output_and_its_record(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for module, last in ((bulk, "write_record"), (shutil, "rmtree")):
        with monkeypatch.context() as patch:
            patch.setattr(module, last, killed)
            with pytest.raises(KeyboardInterrupt):
                shop.predict()
    assert shop.predict() == (Summary(shop.out, COUNT, 0, COUNT), 0)


def test_what_is_read_is_not_overwritten(shop: Shop) -> None:
    feed = shop.folder / "feed.csv"
    feed.write_text("id,image\na,0.png\n")
    with pytest.raises(ConfigError, match=r"feed\.csv is what is to be read"):
        predict(shop.bundle, feed, feed, images=shop.photos, overwrite=True)
    (shop.folder / "d.csv").mkdir()
    with pytest.raises(ConfigError, match="is a directory"):
        shop.predict(out=shop.folder / "d.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("folder", ["cat[1]", "c*t", "q?", "~"])
def test_paths_are_literal(shop: Shop, monkeypatch: pytest.MonkeyPatch, folder: str, suffix: str) -> None:
    monkeypatch.chdir(shop.folder)
    Path(folder).mkdir()
    out = Path(folder, f"p[1]{suffix}")
    assert shop.predict(out=out)[0].products == COUNT
    assert {path.name for path in Path(folder).iterdir()} == {out.name, f"{out.name}.json"}
    shop.predict(out=Path(f"plain{suffix}"))
    assert out.read_bytes() == Path(f"plain{suffix}").read_bytes()


def test_no_id_runs_as_a_formula_and_every_id_comes_back(shop: Shop) -> None:
    ids = ['=HYPERLINK("http://x","y")', "+1+1", "-5", "@SUM(1)", "'=1", "plain"]
    feed = shop.folder / "feed.csv"
    with feed.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "image"], *([id, "=none.png" if n else "0.png"] for n, id in enumerate(ids))]
        )
    out = predict(shop.bundle, feed, shop.out, images=shop.photos, engine=MeanColour(shop.bundle.taxonomy)).out
    cells = pl.read_csv(out, infer_schema=False)
    assert cells["id"].to_list() == [f"'{ids[0]}", "'+1+1", "-5", "'@SUM(1)", "''=1", "plain"]
    assert cells["error"][1].startswith("'=none.png")
    assert read_csv(out)["id"].to_list() == ids
    rows = predict(shop.bundle, feed, shop.folder / "o.parquet", images=shop.photos).out
    assert pl.read_parquet(rows)["id"].to_list() == ids, "only spreadsheets run formulas"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_full_disk_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    full: Any = {
        ".csv": OSError("No space left on device (os error 28)"),
        ".jsonl": OSError(28, "No space left on device"),
        ".parquet": pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
    }

    def sink(*_: Any) -> None:
        raise full[suffix]

    out = shop.folder / f"o{suffix}"
    with monkeypatch.context() as patch:
        patch.setitem(SINKS, suffix, sink)
        with pytest.raises(ConfigError, match=r"cannot write .*No space left on device"):
            shop.predict(out=out)
    assert not out.exists()
    assert shop.predict(out=out)[0].resumed == COUNT, "what was done is kept"


def test_a_place_that_cannot_be_written_is_told_first(shop: Shop) -> None:
    (shop.folder / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*(Not a directory|File exists)"):
        shop.predict(out=shop.folder / "file" / "o.csv")


def test_a_finished_run_says_what_made_it(shop: Shop, catalog: Catalog) -> None:
    predict(shop.bundle, catalog.path, shop.out, engine=MeanColour(catalog.taxonomy))
    about = json.loads(shop.out.with_name("o.csv.json").read_text())
    assert about["work"]["bundle"] == about["bundle"] == shop.bundle.digest
    assert about["work"]["format"] == "wide"


class Company(Dying):
    """An engine that rounds by how many photos are in a batch, as convolutions may do."""

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        category, attributes = super().logits(pixels)
        return category + len(pixels), attributes * len(pixels)


def test_a_part_comes_out_the_same_whatever_was_computed_before_it(shop: Shop) -> None:
    options: dict[str, Any] = {"batch_size": 3, "precision": None}
    shop.predict(Company(shop.bundle.taxonomy, 99), out=shop.folder / "whole.csv", **options)
    with pytest.raises(KeyboardInterrupt):
        shop.predict(Company(shop.bundle.taxonomy, 7), **options)
    assert shop.predict(Company(shop.bundle.taxonomy, 99), **options)[0].resumed
    assert shop.out.read_bytes() == (shop.folder / "whole.csv").read_bytes()


def test_photos_in_an_archive_that_was_delivered_again(shop: Shop) -> None:
    feed, archive = shop.folder / "feed.csv", shop.folder / "photos.zip"
    feed.write_text("id,image\n" + "".join(f"p{n},{n}.png\n" for n in range(COUNT)))

    def deliver() -> None:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for photo in sorted(shop.photos.iterdir()):
                file.write(photo, photo.name)

    def run(engine: MeanColour) -> int:
        return predict(shop.bundle, feed, shop.out, images=archive, engine=engine, batch_size=1).resumed

    deliver()
    with pytest.raises(KeyboardInterrupt):
        run(Dying(shop.bundle.taxonomy, 9))
    with pytest.raises(KeyboardInterrupt):
        run(Dying(shop.bundle.taxonomy, 1))
    assert len(list((shop.folder / "o.csv.chunks").glob("0*.parquet"))) == 2, "what was done is kept"
    shop.draw(1, 9)
    deliver()
    assert run(MeanColour(shop.bundle.taxonomy)) == CHUNK
