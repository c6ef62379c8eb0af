"""The output of bulk prediction: chunks, resumed runs, records, and what is not overwritten."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.fake_engines import MeanColour
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.engines.engine import Bytes, Floats
from attire.errors import ConfigError
from attire.files import locked
from attire.inference import bulk, chunks
from attire.inference.bulk import Summary, predict
from attire.inference.chunks import Chunks, Counts, Origin
from attire.inference.output import SINKS, check_output
from attire.inference.run_record import RunSettings, record_path
from attire.photos.remote import Remote
from attire.photos.shards import samples
from attire.score.answer_counts import AnswerCounts
from attire.score.promise import Promise
from attire.spreadsheets import read_csv
from attire.taxonomy import Key, Taxonomy

CHUNK, COUNT = 4, 10
NO_ANSWERS = AnswerCounts.none(Taxonomy(categories=("A",), keys={}))


class Dying(MeanColour):
    """An engine that is killed after `limit` photos."""

    def __init__(self, taxonomy: Taxonomy, limit: int) -> None:
        super().__init__(taxonomy)
        self.limit = limit

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        if self.photos >= self.limit:
            raise KeyboardInterrupt
        return super().logits(pixels)


class Shop:
    """A folder with ten photos, predicted in chunks of four."""

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
        """The summary, and how many photos were computed."""
        engine = engine or MeanColour(self.bundle.taxonomy)
        out = options.pop("out", self.out)
        return predict(options.pop("bundle", self.bundle), self.photos, out, engine=engine, **options), engine.photos

    def kill(self, photos: int, **options: Any) -> None:
        """Start a run that is killed after that many photos."""
        with pytest.raises(KeyboardInterrupt):
            self.predict(Dying(self.bundle.taxonomy, photos), batch_size=1, **options)


@pytest.fixture
def shop(untrained: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(bulk, "CHUNK", CHUNK)
    return Shop(tmp_path, untrained)


def test_a_second_run_with_the_same_output_is_refused(shop: Shop) -> None:
    with locked(shop.folder / ".o.csv.lock"), pytest.raises(ConfigError, match="another attire predict is writing"):
        shop.predict()
    assert not (shop.folder / "o.csv.chunks").exists()
    assert shop.predict()[0].products == COUNT
    assert not (shop.folder / ".o.csv.lock").exists()


@pytest.mark.parametrize(
    "other", [{"format": "long"}, {"precision": None}, {"bundle": "other"}, {"engine": "other"}], ids=str
)
def test_chunks_with_other_settings_are_not_reused(shop: Shop, other: dict[str, Any]) -> None:
    shop.kill(9)
    engine = MeanColour(shop.bundle.taxonomy)
    if other.pop("engine", None):
        engine.name = "other"
    if other.pop("bundle", None):
        other["bundle"] = replace(shop.bundle, spec=shop.bundle.spec.model_copy(update={"created": "later"}))
    summary, photos = shop.predict(engine, **other)
    assert (summary.resumed, photos) == (0, COUNT)
    shop.predict(engine, out=shop.folder / "uninterrupted.csv", **other)
    assert shop.out.read_bytes() == (shop.folder / "uninterrupted.csv").read_bytes()


def test_only_chunks_with_replaced_photos_are_computed_again(shop: Shop) -> None:
    shop.kill(9)
    assert len(list((shop.folder / "o.csv.chunks").glob("0*.parquet"))) == 2
    shop.draw(1, 9)
    summary, photos = shop.predict()
    assert (summary.products, summary.resumed, photos) == (COUNT, CHUNK, COUNT - CHUNK)
    shop.predict(out=shop.folder / "uninterrupted.csv")
    assert shop.out.read_bytes() == (shop.folder / "uninterrupted.csv").read_bytes(), "equal to an uninterrupted run"


def test_a_deleted_photo_shifts_all_chunks(shop: Shop) -> None:
    shop.kill(9)
    (shop.photos / "2.png").unlink()
    assert shop.predict()[0].resumed == 0, "all products have moved"
    assert read_csv(shop.out)["id"].to_list() == [str(n) for n in range(COUNT) if n != 2]


def test_damaged_chunks_are_computed_again(shop: Shop) -> None:
    shop.kill(9)
    first, second = sorted((shop.folder / "o.csv.chunks").glob("0*.parquet"))
    first.write_bytes(first.read_bytes()[:-20])
    pl.DataFrame({"id": ["x"]}).write_parquet(second, metadata={chunks.METADATA_KEY: "[" * 5000})
    assert shop.predict()[0].resumed == 0


def test_chunks_that_were_changed_during_the_run_are_not_joined(tmp_path: Path) -> None:
    settings = RunSettings(attire="1", bundle="b", engine="torch", format="wide", promise=None)
    folder = Chunks(tmp_path / "chunks", 2, lambda number: Origin(settings, str(number)))
    folder.resume()
    rows = pl.DataFrame({"id": ["a"]})
    other = settings.model_copy(update={"engine": "onnx"})
    for number, origin in enumerate([folder.origin(0), Origin(other, "1")]):
        folder.add(number, chunks.encode(rows, origin, chunks.Counts(1, 0, 0, 0), NO_ANSWERS))
    with pytest.raises(ConfigError, match="was changed while its chunks were written"):
        folder.counts()
    folder.add(2, chunks.encode(rows, folder.origin(2), chunks.Counts(1, 0, 0, 0), NO_ANSWERS))
    (tmp_path / "chunks" / "000001.parquet").unlink()
    with pytest.raises(ConfigError, match="was changed while its chunks were written"):
        folder.counts()


def test_a_resumed_run_records_the_answers_of_all_chunks(shop: Shop) -> None:
    shop.kill(2 * CHUNK)
    shop.predict()
    shop.predict(out=shop.folder / "at once.csv")
    resumed, at_once = (
        json.loads(record_path(out).read_text())["answers"] for out in (shop.out, shop.folder / "at once.csv")
    )
    assert resumed == at_once
    assert sum(sum(bins.values()) for bins in resumed["keys"]["@category"]["answers"].values()) == COUNT
    assert shop.predict()[0].answers is not None, "a finished output has them too"


def test_a_finished_output_is_not_computed_again(shop: Shop) -> None:
    first, _ = shop.predict()
    content = shop.out.read_bytes()
    again, photos = shop.predict()
    assert (again.products, again.unread, again.resumed, photos) == (COUNT, first.unread, COUNT, 0)
    assert shop.out.read_bytes() == content
    assert shop.predict(overwrite=True)[1] == COUNT, "unless --overwrite is given"
    assert {path.name for path in shop.folder.iterdir()} == {"photos", "o.csv", "o.csv.json"}


def _replace_photo(shop: Shop) -> None:
    shop.draw(0, 9)


def _edit_output(shop: Shop) -> None:
    shop.out.write_text(shop.out.read_text() + "x\n")


def _delete_record(shop: Shop) -> None:
    shop.out.with_name("o.csv.json").unlink()


def _write_record(content: str) -> Callable[[Shop], None]:
    def write(shop: Shop) -> None:
        shop.out.with_name("o.csv.json").write_text(content)

    return write


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            None,
            {"format": "long"},
            r"was made with other settings: format wide \(now long\)\. Replace it with --overwrite",
        ),
        (None, {"precision": None}, r"promise 95% with 90% confidence \(now None\)"),
        (_replace_photo, {}, "was made from other products, photos, titles or categories"),
        (_edit_output, {}, "was changed after attire predict finished it"),
        (_delete_record, {}, r"was not written by attire predict: it has no o\.csv\.json"),
        (_write_record("{"), {}, r"has a record that is damaged or of another version, o\.csv\.json: "),
        (_write_record("[" * 100_000), {}, r"a record that is damaged or of another version, o\.csv\.json: nested too"),
        (
            _write_record("1" * 5000),
            {},
            r"a record that is damaged or of another version, o\.csv\.json: number out of range",
        ),
        (_write_record('{"products": 10}'), {}, r"damaged or of another version, o\.csv\.json: settings: "),
    ],
)
def test_an_output_made_otherwise_is_not_replaced(
    shop: Shop, change: Callable[[Shop], None] | None, options: dict[str, Any], message: str
) -> None:
    shop.predict()
    if change is not None:
        change(shop)
    content = shop.out.read_bytes()
    with pytest.raises(ConfigError, match=message):
        shop.predict(**options)
    assert shop.out.read_bytes() == content
    assert not (shop.folder / "o.csv.chunks").exists()
    shop.predict(overwrite=True, **options)
    shop.predict(out=shop.folder / "uninterrupted.csv", **options)
    assert shop.out.read_bytes() == (shop.folder / "uninterrupted.csv").read_bytes()


def test_an_overwriting_run_resumes_after_a_kill(shop: Shop) -> None:
    shop.predict(format="long")
    content = shop.out.read_bytes()
    shop.kill(9, overwrite=True)
    assert shop.out.read_bytes() == content, "kept until the new one is finished"
    assert shop.predict(overwrite=True)[0].resumed == 2 * CHUNK


def test_a_kill_between_an_output_and_its_record(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    for module, function in ((bulk, "write_record"), (shutil, "rmtree")):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, kill)
            with pytest.raises(KeyboardInterrupt):
                shop.predict()
    assert shop.predict() == (Summary(shop.out, COUNT, 0, COUNT), 0)


def test_the_input_is_not_overwritten(shop: Shop) -> None:
    feed = shop.folder / "feed.csv"
    feed.write_text("id,image\na,0.png\n")
    with pytest.raises(ConfigError, match=r"feed\.csv is also an input"):
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


def test_ids_that_are_formulas_are_escaped_and_read_back(shop: Shop) -> None:
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
def test_a_full_disk_is_reported(shop: Shop, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
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
    assert shop.predict(out=out)[0].resumed == COUNT, "finished chunks are kept"


def test_an_output_that_cannot_be_written_is_refused(shop: Shop) -> None:
    (shop.folder / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*(Not a directory|File exists)"):
        shop.predict(out=shop.folder / "file" / "o.csv")


def test_a_finished_run_has_a_record(shop: Shop, catalog: Catalog) -> None:
    predict(shop.bundle, catalog.path, shop.out, engine=MeanColour(catalog.taxonomy))
    record = json.loads(shop.out.with_name("o.csv.json").read_text())
    assert record["settings"]["bundle"] == record["bundle"] == shop.bundle.digest
    assert record["settings"]["format"] == "wide"


class BatchDependent(Dying):
    """An engine whose logits depend on the batch size, as rounding may do."""

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        category, attributes = super().logits(pixels)
        return category + len(pixels), attributes * len(pixels)


def test_a_chunk_does_not_depend_on_earlier_ones(shop: Shop) -> None:
    options: dict[str, Any] = {"batch_size": 3, "precision": None}
    shop.predict(BatchDependent(shop.bundle.taxonomy, 99), out=shop.folder / "uninterrupted.csv", **options)
    with pytest.raises(KeyboardInterrupt):
        shop.predict(BatchDependent(shop.bundle.taxonomy, 7), **options)
    assert shop.predict(BatchDependent(shop.bundle.taxonomy, 99), **options)[0].resumed
    assert shop.out.read_bytes() == (shop.folder / "uninterrupted.csv").read_bytes()


def test_an_archive_that_was_replaced(shop: Shop) -> None:
    feed, archive = shop.folder / "feed.csv", shop.folder / "photos.zip"
    feed.write_text("id,image\n" + "".join(f"p{n},{n}.png\n" for n in range(COUNT)))

    def write_archive() -> None:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for photo in sorted(shop.photos.iterdir()):
                file.write(photo, photo.name)

    def run(engine: MeanColour) -> int:
        return predict(shop.bundle, feed, shop.out, images=archive, engine=engine, batch_size=1).resumed

    write_archive()
    with pytest.raises(KeyboardInterrupt):
        run(Dying(shop.bundle.taxonomy, 9))
    with pytest.raises(KeyboardInterrupt):
        run(Dying(shop.bundle.taxonomy, 1))
    assert len(list((shop.folder / "o.csv.chunks").glob("0*.parquet"))) == 2, "finished chunks are kept"
    shop.draw(1, 9)
    write_archive()
    assert run(MeanColour(shop.bundle.taxonomy)) == CHUNK


def test_ids_of_separate_shards_are_those_of_one_machine(tmp_path: Path) -> None:
    names = [["x.png", "y.png", "a/x.png"], ["x.png", "x.jpg", "first/x.png"], ["x.png", "second/x.png", "y.png"]]
    shards = []
    for shard, members in zip(("first", "second", "third"), names, strict=True):
        shards.append(str(tmp_path / f"{shard}.tar"))
        with tarfile.open(shards[-1], "w") as tar:
            for name in members:
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    together = [sample.id for sample in samples(shards, tmp_path, Remote())]
    assert len(set(together)) == len(together)
    settings = RunSettings(attire="1", bundle="b", engine="e", format="long", promise=Promise(precision=0.9))
    folder = Chunks(tmp_path, 10, lambda number: Origin(settings, str(number)))
    for number, shard in enumerate(shards):
        ids = [sample.id for sample in samples([shard], tmp_path, Remote())]
        table = pl.DataFrame({"id": [id for id in ids for _ in "ab"], "key": ["a", "b"] * len(ids)})
        folder.add(number, chunks.encode(table, folder.origin(number), Counts(len(ids), 0, 0, 0), NO_ANSWERS))
    for _ in range(2):  # a resumed run does it again
        folder.make_ids_unique(shards)
        assert pl.read_parquet(tmp_path / "*.parquet")["id"].unique(maintain_order=True).to_list() == together
    assert folder.counts().products == len(together)


def test_keys_that_would_share_a_column_need_the_long_format(tmp_path: Path) -> None:
    keys = {name: Key(categories=("Shirts",), values=("a", "b")) for name in ("x", "x__confidence")}
    taxonomy = Taxonomy(categories=("Shirts",), keys=keys)
    with pytest.raises(ConfigError, match="the key 'x__confidence' has the name of a column of the wide format"):
        check_output(tmp_path / "o.csv", "wide", taxonomy, [])
    check_output(tmp_path / "o.csv", "long", taxonomy, [])
