"""Filling a feed: which cells are filled, with what, and what is left as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from helpers.bundles import accepting_bundle
from helpers.fake_engines import Answers
from helpers.photo_server import serving_photos
from hypothesis import HealthCheck, given, settings
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.sources.reading import read_table
from attire.cli import app
from attire.errors import ConfigError, FeedError
from attire.filling.delimited_text import DelimitedText
from attire.filling.fill import fill
from attire.filling.more_spellings import with_spellings_of
from attire.filling.outcomes import Filler
from attire.filling.summary import FillSummary, KeyCounts
from attire.spreadsheets import read_csv
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    category_aliases={"tops": "Shirts"},
    keys={
        "colour": Key(categories=("Shirts", "Belts"), values=("red", "green", "blue"), aliases={"crimson": "red"}),
        "tags": Key(arity="many", categories=("Shirts",), values=("logo", "zip", "NA")),
        "fit": Key(categories=("Shirts",), values=("slim", "wide")),
    },
)
PHOTOS = {  # photo -> its colour, and what the engine sees in it
    "red": ((220, 30, 30), ("Shirts", "red", "logo", "zip", "slim?", "wide?")),
    "green": ((30, 200, 30), ("Belts", "green")),
    "blue": ((30, 30, 220), ("Shirts?", "Belts?", "blue?", "red?")),
    "grey": ((120, 120, 120), ("Shirts", "blue", "NA", "wide")),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return accepting_bundle(tmp_path_factory.mktemp("bundle") / "bundle", TAXONOMY, "0.95", "0.9")


@pytest.fixture
def engine() -> Answers:
    return Answers(TAXONOMY, dict(PHOTOS.values()))


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory, with photos of one colour each and one that cannot be read."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, (colour, _) in PHOTOS.items():
        Image.new("RGB", (24, 32), colour).save(f"photos/{name}.png")
    Path("photos/broken.png").write_bytes(b"no photo")


Fill = Callable[..., str]


@pytest.fixture
def filled(bundle: ModelBundle, engine: Answers) -> Fill:
    """A function that fills the lines of a CSV and returns the filled lines."""

    def run(text: str, **options: Any) -> str:
        Path("feed.csv").write_bytes(text.encode())
        run.summary = fill(bundle, "feed.csv", "out.csv", images="photos", engine=engine, **options)  # type: ignore[attr-defined]
        return Path("out.csv").read_bytes().decode()

    return run


def report() -> list[tuple[Any, ...]]:
    """The report without confidences."""
    columns = ("row", "id", "key", "status", "value", "best_guess", "stated", "reason")
    return read_csv(Path("out.fill.csv")).fill_null("").select(columns).rows()


def test_sure_answers_fill_blank_cells_only(filled: Fill) -> None:
    text = (
        "price,id,colour,category,image,tags,fit,sku\n"
        '9.90,1,,Shirts,red.png,,,"007"\n'
        "9.90,2,blue,Shirts,red.png,,slim,=1+1\n"
        "9.90,3,n/a,Belts,green.png,,,\n"
        '"1,5",4,,,blue.png,,,\n'
    )
    assert filled(text, options=SourceOptions(ignore=("price", "sku"), empty=("", "n/a"))) == (
        "price,id,colour,category,image,tags,fit,sku\n"
        '9.90,1,red,Shirts,red.png,logo|zip,,"007"\n'
        "9.90,2,blue,Shirts,red.png,logo|zip,slim,=1+1\n"
        "9.90,3,green,Belts,green.png,,,\n"
        '"1,5",4,,,blue.png,,,\n'
    )
    unsure = "no value is sure enough"
    assert report() == [
        ("2", "1", "colour", "filled", "red", "", "", ""),
        ("2", "1", "tags", "filled", "logo|zip", "", "", ""),
        ("2", "1", "fit", "left open", "", "slim", "", unsure),
        ("3", "2", "colour", "suspected wrong", "", "red", "blue", ""),
        ("3", "2", "tags", "filled", "logo|zip", "", "", ""),
        ("4", "3", "colour", "filled", "green", "", "", ""),
        ("4", "3", "tags", "not applicable", "", "", "", ""),
        ("4", "3", "fit", "not applicable", "", "", "", ""),
        ("5", "4", "category", "left open", "", "Shirts", "", "no value is sure enough"),
        ("5", "4", "colour", "left open", "", "red", "", unsure),
        ("5", "4", "tags", "not applicable", "", "", "", ""),
        ("5", "4", "fit", "not applicable", "", "", "", ""),
    ]
    summary: FillSummary = filled.summary  # type: ignore[attr-defined]
    assert summary.keys == (
        KeyCounts("category", 1, 0, 1, 0, 0, 0),
        KeyCounts("colour", 3, 2, 1, 0, 1, 0),
        KeyCounts("tags", 4, 2, 0, 2, 0, 0),
        KeyCounts("fit", 3, 0, 1, 2, 0, 0),
    )
    assert (summary.products, summary.unread, summary.without_column) == (4, {}, ())
    assert sorted(path.name for path in Path().iterdir()) == [
        "feed.csv",
        "out.csv",
        "out.csv.json",
        "out.fill.csv",
        "photos",
    ]


def test_the_stated_category_decides_which_keys_apply(filled: Fill) -> None:
    text = "id,category,image,tags\n1,Belts,red.png,\n2,,red.png,\n3,Unheard,red.png,\n4,tops,red.png,\n"
    assert filled(text).splitlines()[1:] == [
        "1,Belts,red.png,",
        "2,tops,red.png,logo|zip",  # as the feed spells it
        "3,Unheard,red.png,logo|zip",  # a category that the bundle lacks does not count
        "4,tops,red.png,logo|zip",
    ]


def test_values_are_written_as_the_feed_spells_them_most_often(filled: Fill) -> None:
    words = ["Crimson", "red", "Crimson", "GREEN", "green", "blau", "blau"]
    stated = "".join(f"s{n},grey.png,{word}\n" for n, word in enumerate(words))
    text = f"id,image,colour\n{stated}1,red.png,\n2,green.png,\n3,grey.png,\n"
    assert filled(text).splitlines()[-3:] == ["1,red.png,Crimson", "2,green.png,green", "3,grey.png,blue"]


def test_values_that_would_be_read_as_something_else_are_left_open(filled: Fill) -> None:
    assert filled("id,image,tags\n1,grey.png,\n") == "id,image,tags\n1,grey.png,\n"
    assert report() == [
        ("2", "1", "tags", "left open", "", "NA", "",
         "'NA' would be read as something else: it has the separator, or means unknown"),
    ]  # fmt: skip


@pytest.mark.parametrize("overwrite_suspects", [False, True])
def test_contradicted_values_are_replaced_only_if_asked(filled: Fill, overwrite_suspects: bool) -> None:
    rows = ["1,red.png,blue,logo|zip", "2,red.png,crimson,logo", "3,red.png,mauve,zip|logo", "4,blue.png,green,logo"]
    result = filled("\n".join(["id,image,colour,tags", *rows]), overwrite_suspects=overwrite_suspects).splitlines()[1:]
    if overwrite_suspects:
        assert result == ["1,red.png,crimson,logo|zip", "2,red.png,crimson,logo|zip", *rows[2:]]
    else:
        assert result == rows
    written = ("crimson", "logo|zip") if overwrite_suspects else ("", "")
    assert report() == [
        ("2", "1", "colour", "suspected wrong", written[0], "red", "blue", ""),
        ("3", "2", "tags", "suspected wrong", written[1], "logo|zip", "logo", ""),
    ]


def test_every_row_of_a_product_is_filled_unless_one_states_the_field(filled: Fill) -> None:
    text = "id,image,colour,tags\n1,red.png,,\n2,green.png,,\n1,red.png,blue,\n"
    assert filled(text).splitlines()[1:] == ["1,red.png,,logo|zip", "2,green.png,green,", "1,red.png,blue,logo|zip"]
    assert filled.summary.products == 2  # type: ignore[attr-defined]


def test_products_without_a_readable_photo_are_unchanged(filled: Fill) -> None:
    rows = ["1,broken.png,", "2,missing.png,", "3,,", ",red.png,", "5,broken.png|red.png,"]
    result = filled("\n".join(["id,image,colour", *rows])).splitlines()[1:]
    assert result == [*rows[:-1], "5,broken.png|red.png,red"]
    unread = filled.summary.unread  # type: ignore[attr-defined]
    assert sum(unread.values()) == 4
    assert unread["the id is empty"] == unread["the row names no photo"] == 1
    assert [row[2:4] for row in report()] == [("", "unreadable")] * 4 + [("colour", "filled")]


@pytest.mark.parametrize("name", ["feed.tsv", "feed.jsonl", "feed.parquet", "feed.xlsx"])
def test_all_formats_give_the_same_values(
    name: str,
    bundle: ModelBundle,
    engine: Answers,
) -> None:
    rows = pl.DataFrame(
        {
            "id": ["1", "2", "3"],
            "image": ["red.png", "red.png", "green.png"],
            "category": ["Shirts", "Shirts", None],
            "colour": [None, "blue", None],
            "tags": ["zip", None, None],
        }
    )
    feed = Path(name)
    if feed.suffix == ".tsv":
        rows.write_csv(feed, separator="\t")
    elif feed.suffix == ".jsonl":
        rows.write_ndjson(feed)
    elif feed.suffix == ".parquet":
        rows.write_parquet(feed)
    else:
        pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in [rows.columns, *rows.rows()]:
            book.active.append(row)
        book.save(feed)
    out = Path(f"out{feed.suffix}")
    summary = fill(bundle, feed, out, images="photos", engine=engine)
    cells = [(row.id, row.category, *row.labels.values()) for row in SOURCES["table"](out, SourceOptions())]
    assert cells == [
        ("1", "Shirts", ("red",), ("zip",)),
        ("2", "Shirts", ("blue",), ("logo", "zip")),
        ("3", "Belts", ("green",), ()),
    ]
    assert [counts.filled for counts in summary.keys] == [1, 2, 1]
    assert summary.without_column == ("fit",)
    assert len(read_csv(Path("out.fill.csv"))) == 7


def test_a_feed_without_blanks_comes_back_as_it_was(filled: Fill) -> None:
    text = '"id","image","colour"\r\n"1","red.png","red"\r\n'
    assert filled(text) == text


def test_an_interrupted_run_resumes(
    bundle: ModelBundle,
    engine: Answers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("feed.csv").write_text("id,image,colour\n1,red.png,\n2,green.png,\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DelimitedText, "write", full)
        with pytest.raises(ConfigError, match="the same command continues from there"):
            fill(bundle, "feed.csv", "out.csv", images="photos", engine=engine)
    assert not Path("out.csv").exists()
    assert engine.photos == 2
    fill(bundle, "feed.csv", "out.csv", images="photos", engine=engine)
    assert engine.photos == 2
    assert Path("out.csv").read_text() == "id,image,colour\n1,red.png,red\n2,green.png,green\n"


def test_a_feed_that_changes_meanwhile_is_refused(
    bundle: ModelBundle,
    engine: Answers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed = Path("feed.csv")
    feed.write_text("id,image,colour\n1,red.png,\n")
    logits = engine.logits

    def change(pixels: Any) -> Any:
        feed.write_text("id,image,colour\n0,red.png,\n1,red.png,\n")
        return logits(pixels)

    monkeypatch.setattr(engine, "logits", change)
    with pytest.raises(ConfigError, match=r"feed\.csv was changed while it was filled"):
        fill(bundle, feed, "out.csv", images="photos", engine=engine)
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    ("feed", "out", "message"),
    [
        ("feed.csv", "feed.csv", "is also an input"),
        ("feed.csv", "./photos/../feed.csv", "is also an input"),
        ("feed.csv", "link.csv", "is also an input"),
        ("feed.csv", "out.parquet", r"Expected a name that ends in \.csv"),
        ("feed.csv", "old.csv", r"old\.csv exists\. Replace it with --overwrite"),
        ("feed.csv", "new.csv", r"new\.fill\.csv exists\. Replace it with --overwrite"),
        ("feed.csv", "folder.csv", "is a directory"),
        ("feed.txt", "out.txt", "is not a feed format that can be filled"),
        ("https://shop/feed.csv", "out.csv", "download the feed first"),
    ],
)
def test_outputs_that_would_replace_something_are_refused(
    bundle: ModelBundle,
    engine: Answers,
    feed: str,
    out: str,
    message: str,
) -> None:
    Path("feed.csv").write_text("id,image,colour\n1,red.png,\n")
    Path("link.csv").symlink_to("feed.csv")
    Path("folder.csv").mkdir()
    for name in ("old.csv", "new.fill.csv"):
        Path(name).write_text("precious")
    with pytest.raises(ConfigError, match=message):
        fill(bundle, feed, out, images="photos", engine=engine)
    assert engine.photos == 0
    assert Path("feed.csv").read_text() == "id,image,colour\n1,red.png,\n"


def test_an_existing_output_is_replaced_if_asked(filled: Fill) -> None:
    text = "id,image,colour\n1,red.png,\n"
    first = filled(text)
    Path("out.csv").write_text("older")
    with pytest.raises(ConfigError, match="exists"):
        filled(text)
    assert filled(text, overwrite=True) == first


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("id,image,colour\n,red.png,\n", {}, FeedError, "no row has an id"),
        ("id,image,price\n1,red.png,\n", {}, FeedError, "has no column for the category or for any key"),
        ("id,image,colour\n1,red.png\n", {}, FeedError, "row 2: 2 cells, expected 3"),
        ("id,image,colour\n1,red.png,\n", {"precision": 0.5}, ConfigError, "cannot promise 50% precision"),
    ],
)
def test_feeds_and_options_that_cannot_be_filled(
    filled: Fill, text: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        filled(text, **options)
    assert not Path("out.csv").exists()


def test_photos_must_be_somewhere(bundle: ModelBundle, engine: Answers) -> None:
    Path("feed.csv").write_text("id,image,colour\n1,red.png,\n")
    with pytest.raises(FeedError, match=r"feed\.csv needs --images"):
        fill(bundle, "feed.csv", "out.csv", engine=engine)


def test_a_bundle_without_calibration_is_refused(bundle: ModelBundle) -> None:
    Path("feed.csv").write_text("id,image,colour\n1,red.png,\n")
    uncalibrated = replace(bundle, spec=bundle.spec.model_copy(update={"calibration": None}))
    with pytest.raises(ConfigError, match="was not calibrated"):
        fill(uncalibrated, "feed.csv", "out.csv", images="photos")


def test_the_report_runs_no_formula(filled: Fill) -> None:
    filled("id,image,colour\n=1+1,red.png,\n")
    (_, row) = csv.reader(io.StringIO(Path("out.fill.csv").read_text()))
    assert row[1] == "'=1+1"


def test_the_command_prints_a_table_by_key(
    bundle: ModelBundle,
    engine: Answers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("feed.csv").write_text("sku;image;colour;tags\n1;red.png;;\n2;green.png;red;\n3;broken.png;;\n")
    monkeypatch.setattr(ModelBundle, "load", lambda _: bundle)
    monkeypatch.setattr("attire.inference.bulk.open_engine", lambda *_: engine)
    command = "fill bundle feed.csv --images photos --out out.csv --delimiter ; --id sku --precision 0.9"
    app(command.split(), result_action="return_value")
    printed = capsys.readouterr().out
    assert re.search(r"colour +│ +1 │ +1 │ +0 │ +0 │ +1 │", printed)
    assert re.search(r"tags +│ +2 │ +1 │ +0 │ +1 │ +0 │", printed)
    assert "no column for fit" in printed
    assert "1 rows without a readable photo are unchanged" in printed
    app([*command.split(), "--overwrite", "--overwrite-suspects"], result_action="return_value")
    assert "replaced" in capsys.readouterr().out
    assert Path("out.csv").read_text().splitlines()[1:3] == ["1;red.png;red;logo|zip", "2;green.png;green;"]


TITLES = """
[category_titles.de]
Shirts = "Hemden"

[key_titles.de]
colour = "Farbe"
tags = "Merkmale"

[keys.colour.titles.de]
red = "rot"
blue = "blau"

[keys.tags.titles.de]
logo = "Logo|Text"
zip = "Zipp"
"""


@pytest.fixture
def german(tmp_path: Path) -> Path:
    """A translation of the bundle's taxonomy; green has no title."""
    (tmp_path / "de.toml").write_text(TAXONOMY.to_toml() + TITLES, encoding="utf-8")
    return tmp_path / "de.toml"


def test_values_are_written_in_a_language_where_they_have_titles(filled: Fill, german: Path) -> None:
    feed = "id,category,image,colour,fit\n1,,red.png,,\n2,Belts,green.png,,\n3,Shirts,grey.png,,\n"
    options: dict[str, Any] = {"taxonomy": german, "overwrite": True}
    assert filled(feed, language="de", **options).splitlines()[1:] == [
        "1,Hemden,red.png,rot,",
        "2,Belts,green.png,green,",
        "3,Shirts,grey.png,blau,wide",
    ]
    assert filled(feed, **options).splitlines()[1:] == [
        "1,Shirts,red.png,red,",
        "2,Belts,green.png,green,",
        "3,Shirts,grey.png,blue,wide",
    ]


def test_titles_name_columns_and_values_of_a_feed(filled: Fill, german: Path) -> None:
    feed = "id,category,image,FARBE\n1,Hemden,red.png,\n2,Hemden,grey.png,blau\n"
    out = filled(feed, language="de", taxonomy=german, overwrite_suspects=True)
    assert out.splitlines()[1:] == ["1,Hemden,red.png,rot", "2,Hemden,grey.png,blau"]


def test_a_title_that_would_be_read_as_something_else_is_left_open(filled: Fill, german: Path) -> None:
    feed = "id,category,image,tags\n1,Shirts,red.png,\n"
    assert filled(feed, language="de", taxonomy=german).splitlines()[1:] == ["1,Shirts,red.png,"]
    assert read_csv(Path("out.fill.csv"))["best_guess"].to_list() == ["Logo|Text|Zipp"]


def test_an_unknown_language_is_refused_with_those_there_are(filled: Fill, german: Path) -> None:
    feed = "id,category,image,colour\n1,Shirts,red.png,\n"
    with pytest.raises(ConfigError, match="no titles in the language 'fr': titles are in de"):
        filled(feed, language="fr", taxonomy=german)
    with pytest.raises(ConfigError, match=r"'de': it has no titles\. Add them .*name it with --taxonomy"):
        filled(feed, language="de")
    assert not Path("out.csv").exists()


def test_words_that_a_later_taxonomy_renamed_are_read(filled: Fill, tmp_path: Path) -> None:
    later = TAXONOMY.to_toml().replace('"red"', '"scarlet"').replace('"scarlet"\n', '"scarlet"\nred = "scarlet"\n')
    (tmp_path / "later.toml").write_text(later + '[keys.colour.titles.de]\nscarlet = "rot"\n', encoding="utf-8")
    feed = "id,category,image,colour\n1,Shirts,red.png,\n2,Shirts,grey.png,Scarlet\n"
    options: dict[str, Any] = {"taxonomy": tmp_path / "later.toml", "overwrite_suspects": True}
    assert filled(feed, language="de", **options).splitlines()[1:] == ["1,Shirts,red.png,rot", "2,Shirts,grey.png,blue"]


def test_a_coarser_answer_is_no_suspect(filled: Fill, tmp_path: Path) -> None:
    """The parents are those of a later taxonomy, which has a word between that the bundle lacks."""
    colours = Key(
        categories=("Shirts", "Belts"),
        values=("scarlet", "warm", "green", "blue"),
        aliases={"red": "scarlet"},
        parents={"blue": "warm", "warm": "scarlet", "green": "warm"},
    )
    later = Taxonomy(categories=TAXONOMY.categories, keys={**TAXONOMY.keys, "colour": colours})
    (tmp_path / "later.toml").write_text(later.to_toml())
    assert with_spellings_of(TAXONOMY, later).parents("colour") == {"blue": "red", "green": "red"}
    # The answers are red and blue.
    rows = ["1,red.png,blue", "2,red.png,green", "3,grey.png,scarlet"]
    feed = "\n".join(["id,image,colour", *rows])
    options: dict[str, Any] = {"taxonomy": tmp_path / "later.toml"}
    assert filled(feed, **options).splitlines()[1:] == rows
    assert [(row[1], row[3]) for row in report()] == [("3", "suspected wrong")], "a finer answer contradicts"
    options |= {"overwrite": True, "overwrite_suspects": True}
    assert filled(feed, **options).splitlines()[1:] == [*rows[:2], "3,grey.png,blue"]


def test_photos_at_urls(bundle: ModelBundle, engine: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")
    monkeypatch.setattr("attire.photos.remote.WAIT_S", 0.01)
    with serving_photos() as server:
        server.photos = {f"/{name}": Path(f"photos/{name}.png").read_bytes() for name in ("red", "green")}
        server.failing = {"/red": (503, 1)}
        cells = ["/red", "/green|/none", "/none", "red.png"]
        urls = [cell.replace("/", f"{server.url}/") for cell in cells]
        Path("feed.csv").write_text("id,image,colour\n" + "".join(f"{n},{cell},\n" for n, cell in enumerate(urls)))
        summary = fill(bundle, "feed.csv", "out.csv", engine=engine)
        assert [row.split(",")[2] for row in Path("out.csv").read_text().splitlines()[1:]] == ["red", "green", "", ""]
        assert summary.unread == {"not found": 1, "not found in --images": 1}
        Path("feed.csv").write_text("id,image,colour\n1,red,\n2,red.png,\n")
        fill(bundle, "feed.csv", "below.csv", images=[server.url, "photos"], engine=engine)
    assert Path("below.csv").read_text() == "id,image,colour\n1,red,red\n2,red.png,red\n"


def test_a_json_column_is_filled(bundle: ModelBundle, engine: Answers) -> None:
    line = '{{"id": {}, "image": "{}.png", "category": "{}", "all": {}}}\n'
    Path("feed.jsonl").write_text(
        line.format(1, "red", "Shirts", '{"size": 1.50, "tags": ["zip"]}') + line.format(2, "green", "", "null")
    )
    summary = fill(
        bundle, "feed.jsonl", "out.jsonl", images="photos", engine=engine, options=SourceOptions(attributes="all")
    )
    assert Path("out.jsonl").read_text() == (
        line.format(1, "red", "Shirts", '{"size": 1.50, "tags": ["zip"], "colour": "red"}')
        + line.format(2, "green", "Belts", '{"colour": "green"}')
    )
    assert summary.without_column == ()
    options = SourceOptions(attributes="all", ignore=("colour",))
    assert fill(bundle, "feed.jsonl", "none.jsonl", images="photos", engine=engine, options=options).without_column == (
        "colour",
    )


def test_another_sheet_is_filled_with_thumbnails(bundle: ModelBundle, engine: Answers) -> None:
    pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["cover"])
    sheet = book.create_sheet("Week 2")
    for row in [("id", "image", "colour"), ("1", "broken.png|red.png", None), ("2", "green.png", "blue")]:
        sheet.append(row)
    book.save("feed.xlsx")
    with pytest.raises(FeedError, match=r"has no sheet 'Week'; did you mean 'Week 2'\? It has: Sheet, Week 2\."):
        fill(bundle, "feed.xlsx", "out.xlsx", images="photos", engine=engine, options=SourceOptions(sheet="Week"))
    options = SourceOptions(sheet="Week 2")
    fill(bundle, "feed.xlsx", "out.xlsx", images="photos", engine=engine, options=options, thumbnails=True)
    filled = openpyxl.load_workbook("out.xlsx")
    assert filled["Week 2"]["C2"].value == "red"
    assert len(filled["attire"]._images) == 2
    assert sorted(path.name for path in Path().iterdir()) == [
        "feed.xlsx",
        "out.fill.csv",
        "out.xlsx",
        "out.xlsx.json",
        "photos",
    ]
    Path("feed.csv").write_text("id,image,colour\n1,red.png,\n")
    with pytest.raises(ConfigError, match="thumbnails can only be put into"):
        fill(bundle, "feed.csv", "out.csv", images="photos", engine=engine, thumbnails=True)


AWKWARD = ("007", "12345678901234567890", "1.10", "2026-11-26", "=1+1", "-5", " x ", "é日😀", "a\nb", 'say "hi"', "a,b")
awkward = st.sampled_from(AWKWARD) | st.text("ab\u2028é,;\t'\\", max_size=5)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(awkward, awkward, st.sampled_from(["", "blue", "mauve"])), min_size=1, max_size=3))
def test_a_round_trip_changes_the_blanks_only(
    bundle: ModelBundle, engine: Answers, suffix: str, rows: list[tuple[str, str, str]]
) -> None:
    table = pl.DataFrame(
        [(str(n), "red.png", *row) for n, row in enumerate(rows)],
        ["id", "image", "note", "sku", "colour"],
        orient="row",
    )
    feed, out = Path(f"feed.{suffix}"), Path(f"out.{suffix}")
    if suffix == "xlsx":
        pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in [table.columns, *table.rows()]:
            book.active.append([cell or None for cell in row])
        book.save(feed)
    elif suffix == "jsonl":
        table.write_ndjson(feed)
    elif suffix == "parquet":
        table.write_parquet(feed)
    else:
        table.write_csv(feed, separator="\t" if suffix == "tsv" else ",")
    options = SourceOptions(ignore=("note", "sku"))
    fill(bundle, feed, out, images="photos", engine=engine, options=options, overwrite=True)

    def cells(path: Path) -> list[list[object]]:
        return [[*row.values()] for _, row in read_table(path, options).cells if isinstance(row, dict)]

    before = cells(feed)
    expected = [[*row[:-1], row[-1] or "red"] for row in before]
    assert cells(out) == expected
    if all(colour for *_, colour in rows) and suffix != "xlsx":
        assert out.read_bytes() == feed.read_bytes()


def test_a_run_that_is_killed_while_it_writes_leaves_nothing_finished(
    bundle: ModelBundle, engine: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("feed.csv").write_text("id,image,colour\n" + "".join(f"{n},red.png,\n" for n in range(9)))
    outcome = Filler._outcome
    calls = []

    def killed(self: Filler, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return outcome(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Filler, "_outcome", killed)
        with pytest.raises(KeyboardInterrupt):
            fill(bundle, "feed.csv", "out.csv", images="photos", engine=engine)
    assert sorted(path.name for path in Path().iterdir()) == ["feed.csv", "out.csv.filling", "photos"]
    photos = engine.photos
    fill(bundle, "feed.csv", "out.csv", images="photos", engine=engine)
    assert engine.photos == photos
    assert Path("out.csv").read_text().count(",red\n") == 9
