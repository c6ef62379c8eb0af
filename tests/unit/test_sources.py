"""Reading feeds of every format: real files are read completely, and every fault is reported with its row number."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from attire.catalog.feed_row import Row
from attire.catalog.sources import SOURCES, SourceOptions
from attire.errors import FeedError

FORMATS = Path(__file__).parents[2].parent / "shared" / "formats"
needs_formats = pytest.mark.skipif(not FORMATS.is_dir(), reason="real label files are only in ../shared/formats")

HEADER = "id,category,image,title,group,neck,fit\n"
SHIRT = Row(2, "s1", "Shirts", {"neck": ("Polo", "Round"), "fit": ()}, ("front.jpg", "back.jpg"), "A shirt", "g1")


def feed(folder: Path, text: str | bytes, name: str = "feed.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path, source: str = "table", /, **options: object) -> list[Row]:
    return list(SOURCES[source](path, SourceOptions.model_validate(options)))


def problems(path: Path, source: str = "table", /, **options: object) -> list[str]:
    with pytest.raises(FeedError) as caught:
        read(path, source, **options)
    return list(caught.value.problems)


def as_csv(folder: Path) -> Path:
    return feed(folder, HEADER + "s1,Shirts,front.jpg|back.jpg,A shirt,g1,Polo|Round,\n")


def as_tsv(folder: Path) -> Path:
    text = HEADER.replace(",", "\t") + "s1\tShirts\tfront.jpg|back.jpg\tA shirt\tg1\tPolo|Round\tNA\n"
    return feed(folder, text, "feed.tsv")


def as_json_lines(folder: Path) -> Path:
    first = {"id": "s1", "category": "Shirts", "image": ["front.jpg", "back.jpg"], "title": "A shirt", "group": "g1"}
    lines = [json.dumps(first | {"neck": ["Polo", "Round", "Polo"], "fit": None})]
    return feed(folder, "\n" + "\n".join(lines), "feed.jsonl")  # row 2, after an empty line


def as_parquet(folder: Path) -> Path:
    row = {"id": "s1", "category": "Shirts", "image": "front.jpg|back.jpg", "title": "A shirt", "group": "g1"}
    path = folder / "feed.parquet"
    other = row | {"id": "s0", "neck": [], "fit": 2.0}
    pl.DataFrame([other, row | {"neck": ["Polo", "Round"], "fit": float("nan")}]).write_parquet(path)
    return path


def as_json_column(folder: Path) -> Path:
    text = "id,category,image,title,group,json\ns1,Shirts,front.jpg|back.jpg,A shirt,g1,"
    return feed(folder, text + '"{""neck"": ""Polo|Round"", ""fit"": """"}"\n')


@pytest.mark.parametrize(
    ("write", "options"),
    [(as_csv, {}), (as_tsv, {}), (as_json_lines, {}), (as_parquet, {}), (as_json_column, {"attributes": "json"})],
)
def test_one_product_is_equal_in_every_format(
    tmp_path: Path, write: Callable[[Path], Path], options: dict[str, str]
) -> None:
    assert read(write(tmp_path), **options)[-1] == SHIRT


def test_whole_floats_become_integers(tmp_path: Path) -> None:
    assert read(as_parquet(tmp_path))[0].labels["fit"] == ("2",)


def test_row_numbers_are_lines_of_the_file(tmp_path: Path) -> None:
    path = feed(tmp_path, 'id,image,title\na,a.jpg,"two\nlines"\n\nb,b.jpg,\u2028\nc,c.jpg,\n')
    assert [(row.number, row.id) for row in read(path)] == [(2, "a"), (5, "b"), (6, "c")]


def test_a_feed_without_category_title_and_group_is_enough(tmp_path: Path) -> None:
    assert read(feed(tmp_path, "id,image\na,a.jpg\n")) == [Row(2, "a", "", {}, ("a.jpg",))]


def test_none_is_a_value_and_na_is_unknown(tmp_path: Path) -> None:
    (row,) = read(feed(tmp_path, "id,category,image,group,neck,fit\nNA,null,a.jpg,N/A,none, NA | slim \n"))
    assert (row.id, row.category, row.group) == ("NA", "", "")
    assert row.labels == {"neck": ("none",), "fit": ("slim",)}


def test_columns_are_mapped_chosen_and_ignored(tmp_path: Path) -> None:
    path = feed(tmp_path, "sku,photo,kind,neck,brand,fit\na,a.jpg,Shirts,Polo,X,slim\n")
    mapped = {"id": "sku", "image": "photo", "category": "kind"}
    assert list(read(path, **mapped, ignore=("brand",))[0].labels) == ["neck", "fit"]
    assert read(path, **mapped, keys=("fit",))[0].labels == {"fit": ("slim",)}
    assert read(path, **mapped)[0].category == "Shirts"


def test_keys_are_chosen_and_ignored_inside_a_json_column(tmp_path: Path) -> None:
    lines = '{"id": "a", "image": "a.jpg", "all": {"neck": "Polo", "brand": "X", "fit": "slim"}}\n{"id": "b"}\n'
    path = feed(tmp_path, lines, "feed.jsonl")
    rows = read(path, attributes="all", ignore=("brand",))
    assert rows[0].labels == {"neck": ("Polo",), "fit": ("slim",)}
    assert rows[1] == Row(2, "b", "")  # without a photo, which `check` reports
    assert read(path, attributes="all", keys=("fit",))[0].labels == {"fit": ("slim",)}


def test_columns_without_a_name_are_skipped(tmp_path: Path) -> None:
    assert read(feed(tmp_path, ",id,image,\n0,a,a.jpg,\n"))[0].labels == {}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("id,pic\na,a.jpg\n", {"image": "pict"}, "No column 'pict'; did you mean 'pic'? It has: id, pic."),
        ("id,image\n", {"category": "kind"}, "No column 'kind'; did you mean 'id'?"),
        ("id,image\na,a.jpg\n", {"ignore": ("imag",)}, "No column 'imag'; did you mean 'image'?"),
        ("id,image\na,a.jpg\n", {"attributes": "json"}, "No column 'json'."),
        ("", {}, "is empty"),
        ("id,image\n", {}, "has no rows"),
        ('"id"x,image\n', {}, "the header cannot be read"),
        ("id,image,neck,neck\na,a.jpg,x,y\n", {}, "names neck more than once"),
        ("id,image\na,a.jpg\n", {"encoding": "utf-9"}, "'utf-9' is not an encoding"),
    ],
)
def test_faults_of_a_whole_feed(tmp_path: Path, text: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(FeedError) as caught:
        read(feed(tmp_path, text), **options)
    assert message in str(caught.value)


def test_other_files_are_refused_as_feeds(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"'\.ods' is not a feed format.*\.csv"):
        read(feed(tmp_path, "", "feed.ods"))
    with pytest.raises(FeedError, match=r"cannot read .*No such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(FeedError, match="is not a readable Parquet file"):
        read(feed(tmp_path, "id,image", "feed.parquet"))
    with pytest.raises(FeedError, match="it is empty"):
        read(feed(tmp_path, "\n", "feed.jsonl"))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_wrong_encoding_is_reported_with_its_byte_and_can_be_set(tmp_path: Path, mark: bytes) -> None:
    path = feed(tmp_path, mark + b"id,image,colour\n" + "a,a.jpg,écru\n".encode("cp1252"))
    with pytest.raises(FeedError) as caught:
        read(path)
    position = path.read_bytes().index(b"\xe9")
    assert f"line 2 is not utf-8: byte {position} is 0xe9." in str(caught.value)
    assert "--encoding cp1252" in str(caught.value)
    if not mark:
        assert read(path, encoding="cp1252")[0].labels == {"colour": ("écru",)}


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    assert read(feed(tmp_path, b"\xef\xbb\xbfid,image\na,a.jpg\n"))[0].id == "a"


def test_all_bad_rows_of_a_csv_are_reported_at_once(tmp_path: Path) -> None:
    rows = ['a,a.jpg,"{}"', "b,b.jpg", "c,c.jpg,{", 'd,d.jpg,"x"y', "e,e.jpg,{},{}", "f,f.jpg,[1]", 'g,g.jpg,"{}']
    faults = problems(feed(tmp_path, "id,image,json\n" + "\n".join(rows) + "\n"), attributes="json")
    assert [line.split(":")[0] for line in faults] == [f"row {n}" for n in (3, 4, 5, 6, 7, 8)]
    assert "2 cells, expected 3. Is a ',' missing" in faults[0]
    assert "json: not JSON" in faults[1]
    assert "Is a quote missing?" in faults[2]
    assert "4 cells, expected 3" in faults[3]
    assert "json: expected a JSON object, got list" in faults[4]
    assert "Is a quote missing?" in faults[5]


def test_all_bad_lines_of_json_are_reported_at_once(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "image": "a.jpg"}',
        "{",
        "[]",
        '{"id": {"no": 1}, "image": "a.jpg"}',
        '{"id": "b", "neck": [[]]}',
    ]
    faults = problems(feed(tmp_path, "\n".join(lines), "feed.jsonl"))
    assert [line.split(":")[0] for line in faults] == ["row 2", "row 3", "row 4", "row 5"]
    assert "expected a JSON object, got list" in faults[1]
    assert "id: expected one word, got {'no': 1}" in faults[2]
    assert "neck: expected one word" in faults[3]


def test_a_message_lists_the_first_faults_and_the_error_has_all(tmp_path: Path) -> None:
    path = feed(tmp_path, "id,image\n" + "short\n" * 25)
    with pytest.raises(FeedError, match=r"25 of its rows cannot be read:(.|\n)*and 5 more$") as caught:
        read(path)
    assert len(caught.value.problems) == 25


def test_words_may_not_contain_the_separator(tmp_path: Path) -> None:
    faults = problems(feed(tmp_path, "id,category,image,neck\na,S,a.jpg,x|y\nb,A|B,b.jpg,x;y\n"), separator=";")
    assert faults[0].startswith("row 2: neck='x|y' contains '|'")
    assert faults[1].startswith("row 3: category='A|B' contains '|'")


def flipkart(folder: Path, *attributes: str) -> Path:
    rows = [f'{n},shirt,{n},{n}.jpeg,"{text}"' for n, text in enumerate(attributes)]
    return feed(folder, "\n".join([",category,id,filename,attributes", *rows]))


def test_flipkart_rows_omit_only_the_repeated_category(tmp_path: Path) -> None:
    (row,) = read(flipkart(tmp_path, "{'neck': ['polo', 'polo'], 'vertical': ['shirt'], 'fit': []}"), "flipkart")
    assert row == Row(2, "0", "shirt", {"neck": ("polo",), "fit": ()}, ("0.jpeg",))


def test_flipkart_literals_are_never_executed(tmp_path: Path) -> None:
    code = "__import__('pathlib').Path('ran').touch()"
    bad = ["{'a': ", "['a']", "{'neck': ['a|b']}", "{'neck': 'a|b'}", "{'neck': [['a']]}", code]
    faults = problems(flipkart(tmp_path, *bad), "flipkart")
    assert [line.split(":")[0] for line in faults] == [f"row {n}" for n in range(2, 8)]
    assert "expected a dict of lists, got list" in faults[1]
    assert all("contains '|'" in line for line in faults[2:4])
    assert not Path("ran").exists()


@needs_formats
def test_a_real_flipkart_file_is_read_completely() -> None:
    rows = read(FORMATS / "flipkart" / "val_data.csv", "flipkart")
    assert len(rows) == len({row.id for row in rows}) == 7011
    assert len({row.category for row in rows}) == 26
    assert len({key for row in rows for key in row.labels}) == 45
    assert all(row.images and row.category for row in rows)


def myntra(folder: Path, rows: dict[str, str], styles: dict[str, object]) -> Path:
    header = "id,gender,articleType,baseColour,usage,productDisplayName\n"
    feed(folder, header + "".join(f"{id},{row}\n" for id, row in rows.items()), "styles.csv")
    (folder / "styles").mkdir()
    for id, attributes in styles.items():
        feed(folder / "styles", json.dumps({"data": {"articleAttributes": attributes}}), f"{id}.json")
    return folder


def test_myntra_joins_table_and_files(tmp_path: Path) -> None:
    attributes = {"Neck Type": "Round", "Print or Pattern": "NA", "Fit": None}
    row = "Men,Shirts,Navy Blue,NA,A shirt, blue"  # the comma of the title is not quoted in Kaggle's file
    folder = myntra(tmp_path, {"7": row}, {"7": attributes})
    labels = {"ideal_for": ("Men",), "colour": ("Navy Blue",), "neck_type": ("Round",)}
    expected = [Row(2, "7", "Shirts", labels, ("7.jpg",), "A shirt, blue")]
    assert read(folder, "myntra") == read(folder / "styles.csv", "myntra") == expected


def test_myntra_faults_name_the_file(tmp_path: Path) -> None:
    row = "Men,Shirts,Blue,Casual,A shirt"
    folder = myntra(tmp_path, dict.fromkeys("12345", row) | {"6": "Men"}, {"1": {}, "4": [], "5": {"Usage": "Sports"}})
    feed(folder / "styles", "{", "3.json")
    faults = problems(folder, "myntra")
    assert [line.split(":")[0] for line in faults] == [f"row {n}" for n in (3, 4, 6, 7)]
    assert "2.json: No such file" in faults[0]
    assert "3.json has no data.articleAttributes" in faults[1]
    assert "5.json: 'Usage' says 'Sports', but usage is already 'Casual'" in faults[2]
    assert "2 cells, expected 6" in faults[3]


@needs_formats
def test_a_real_myntra_sample_is_read_completely() -> None:
    rows = read(FORMATS / "myntra", "myntra")
    assert len(rows) == 150
    assert all(row.labels["colour"] for row in rows)
    first = next(row for row in rows if row.id == "19113")
    assert first.labels["neck"] == ("Round Neck",)
    assert first.title == "Campbell Men Pack of 3 Solid Tshirts"


def test_image_folders_are_categories(tmp_path: Path) -> None:
    for name in ("Shirts/b.JPG", "Shirts/a.jpg", "Jeans/2024/c.png", "Jeans/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read(tmp_path, "imagefolder") == [
        Row(1, "Jeans/2024/c", "Jeans", {}, ("Jeans/2024/c.png",)),
        Row(2, "Shirts/a", "Shirts", {}, ("Shirts/a.jpg",)),
        Row(3, "Shirts/b", "Shirts", {}, ("Shirts/b.JPG",)),
    ]
    (tmp_path / "loose.jpg").touch()
    (tmp_path / "Shirts" / "a.png").touch()
    faults = problems(tmp_path, "imagefolder")
    assert "Shirts/a.png and a.jpg would be one product, 'Shirts/a'" in faults[0]
    assert "loose.jpg is in no sub-folder" in faults[1]


def test_invalid_image_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="is not a folder"):
        read(tmp_path / "absent", "imagefolder")
    with pytest.raises(FeedError, match="has no rows"):
        read(tmp_path, "imagefolder")


def test_another_delimiter_is_suggested_and_read(tmp_path: Path) -> None:
    (tmp_path / "feed.csv").write_text("id;image;colour\na;a.jpg;red\n")
    with pytest.raises(FeedError, match="Then add --delimiter ';'"):
        list(SOURCES["table"](tmp_path / "feed.csv", SourceOptions()))
    (row,) = SOURCES["table"](tmp_path / "feed.csv", SourceOptions(delimiter=";"))
    assert (row.id, row.labels) == ("a", {"colour": ("red",)})


DEEP = "[" * 3000 + "]" * 3000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'{{"id": {DEEP}}}', "the lists or objects of the JSON are nested too deeply"),
        ('{"id": "b", "fit": ' + "9" * 5000 + "}", "a number has 5,000 digits"),
        ('{"id": "b", "id": "c"}', "a JSON object names 'id' more than once"),
        ('{"id": "b", "fit": 1e999}', "fit: expected one word, got inf"),
        ('{"id": "\\ud800"}', r"id='\ud800' contains a lone surrogate, \ud800"),
        ('{"id": "b", "image": "\\udce9.jpg"}', r"image='\udce9.jpg' contains a lone surrogate"),
        ('{"id": "b", "title": "a \\ud800"}', r"title='a \ud800' contains a lone surrogate"),
        ('{"id": "b", "category": "\\ud800"}', r"category='\ud800' contains a lone surrogate"),
        ('{"id": "b", "group": "\\u0000"}', r"group='\x00' contains a control character, \x00"),
        ('{"id": "b", "fit": "\\ud800"}', r"fit='\ud800' contains a lone surrogate"),
        ('{"id": "b", "\\ud800": "x"}', r"the key '\ud800' contains a lone surrogate"),
        ('{"id": "b", "fit": "x\\u001b[31m"}', r"fit='x\x1b[31m' contains a control character, \x1b"),
        ('{"id": "b", "title": "x\\u0000"}', r"title='x\x00' contains a control character"),
        ('{"id": "' + "x" * 2**20 + '"}', "is too long: expected at most 1,000"),
    ],
)
def test_texts_that_cannot_be_stored_are_reported_with_their_row(tmp_path: Path, line: str, message: str) -> None:
    (fault,) = problems(feed(tmp_path, f'{{"id": "a", "image": "a.jpg"}}\n{line}\n', "feed.jsonl"))
    assert fault.startswith("row 2: ")
    assert message in fault
    assert len(fault) < 400
    assert fault.isprintable()


def test_odd_texts_are_read_unchanged(tmp_path: Path) -> None:
    ids = ["../../etc/passwd", "=1+1", "a\nb", "x" * 1000, "\u202eid", " . ", "a|b", "NA"]
    title = "Tee\x92s \x1b[31m " + "x" * 200_000
    lines = [json.dumps({"id": id, "image": "a b.jpg", "title": title, "fit": "two\nlines"}) for id in ids]
    rows = read(feed(tmp_path, "\n".join(lines), "feed.jsonl"))
    assert [row.id for row in rows] == [id.strip() for id in ids]
    assert {row.title for row in rows} == {title}
    assert rows[0].labels == {"fit": ("two\nlines",)}


def test_a_feed_without_any_json_object_gives_the_reason(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"no line of it is a JSON object:\n  row 1: not JSON(.|\n)*row 2: expected a"):
        read(feed(tmp_path, "{\n[]\n", "feed.jsonl"))


@pytest.mark.parametrize("source", ["table", "flipkart", "myntra"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_pipes_devices_and_folders_are_never_read(tmp_path: Path, source: str, suffix: str) -> None:
    pipe, folder, device = tmp_path / f"pipe{suffix}", tmp_path / f"folder{suffix}", tmp_path / f"zero{suffix}"
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(FeedError, match="it is a pipe or device, not a file"):
            read(path, source)
    with pytest.raises(FeedError, match=r"Is a directory|cannot read .*styles\.csv"):
        read(folder, source)


def test_a_compressed_file_with_a_feed_suffix_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="is compressed with gzip, not text"):
        read(feed(tmp_path, gzip.compress(b"id,image\na,a.jpg\n")))
    with pytest.raises(FeedError, match=r"a workbook \(.xlsx\), not text"):
        read(feed(tmp_path, b"PK\x03\x04rest"))
    with pytest.raises(FeedError, match=r"'\.gz' is not a feed format.*uncompressed"):
        read(feed(tmp_path, b"", "feed.csv.gz"))


def test_a_header_with_invalid_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"the column 'ne\\x1bck' contains a control character, \\x1b. Rename it"):
        read(feed(tmp_path, "id,image,ne\x1bck\na,a.jpg,x\n"))
    with pytest.raises(FeedError, match="Try --encoding utf-16-le"):
        read(feed(tmp_path, "id,image\na,a.jpg\n".encode("utf-16-le")))


def test_parquet_cells_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "feed.parquet"
    cells: dict[str, object] = {"struct": {"x": 1}, "bytes": b"\xff", "lists": [["x"]]}
    for name, cell in cells.items():
        pl.DataFrame({"id": ["a"], "image": ["a.jpg"], name: pl.Series([cell])}).write_parquet(path)
        assert problems(path)[0].startswith(f"row 1: {name}: expected one word, got ")
    array = pl.Series([["x", "y"]], dtype=pl.Array(pl.String, 2))
    kinds = pl.Series(["z"], dtype=pl.Categorical)
    pl.DataFrame({"id": ["a"], "image": ["a.jpg"], "array": array, "kind": kinds}).write_parquet(path)
    assert read(path)[0].labels == {"array": ("x", "y"), "kind": ("z",)}


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_damaged_parquet_is_reported(tmp_path: Path, cut: float) -> None:
    path = as_parquet(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(FeedError, match=r"is not a readable Parquet file: .+"):
        read(path)
    path.write_bytes(content[:40] + b"\xff" * 60 + content[100:])
    with pytest.raises(FeedError, match=r"is not a readable Parquet file: .+"):
        read(path)


def test_a_delimiter_is_one_character_and_not_a_quote(tmp_path: Path) -> None:
    for delimiter in (";;", '"', "\n"):
        with pytest.raises(ValidationError):
            SourceOptions(delimiter=delimiter)
    assert read(feed(tmp_path, "id\0image\na\0a.jpg\n"), delimiter="\0")[0].id == "a"


def test_flipkart_literals_that_would_lose_data_or_hang(tmp_path: Path) -> None:
    bad = ["{'a': ['x'], 'a': ['y']}", "{1: ['x']}", "{'a': [0x" + "f" * 9000 + "]}", "[" * 5000, "{'a': {'x'}}"]
    faults = problems(flipkart(tmp_path, *bad), "flipkart")
    assert [line.split(":")[0] for line in faults] == [f"row {n}" for n in range(2, 7)]
    assert "contains a key more than once" in faults[0]
    assert "expected strings as keys" in faults[1]
    assert "the number has too many digits" in faults[2]
    assert "is not a Python literal" in faults[3]
    assert "a: expected one word, got {'x'}" in faults[4]


def test_myntra_reads_only_the_files_of_its_folder(tmp_path: Path) -> None:
    row = "Men,Shirts,Blue,Casual,A shirt"
    folder = myntra(tmp_path, dict.fromkeys(["../secret", "1", "2"], row), {})
    feed(tmp_path, json.dumps({"data": {"articleAttributes": {"Neck": "Secret"}}}), "secret.json")
    os.mkfifo(folder / "styles" / "1.json")
    feed(folder / "styles", '{"data": ' + DEEP + "}", "2.json")
    faults = problems(folder, "myntra")
    assert "id='../secret' cannot be a file name" in faults[0]
    assert "1.json: it is a pipe or device, not a file" in faults[1]
    assert "2.json has no data.articleAttributes: the lists or objects of the JSON are nested too deeply" in faults[2]


def test_myntra_files_may_fill_empty_cells_of_the_table(tmp_path: Path) -> None:
    folder = myntra(tmp_path, {"1": "Men,Shirts,Blue,NA,A shirt"}, {"1": {"Usage": "Sports", "usage ": "Sports"}})
    assert read(folder, "myntra")[0].labels["usage"] == ("Sports",)


def test_image_folders_yield_only_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    category, elsewhere = tmp_path / "feed" / "Shirts.jpg", tmp_path / "elsewhere"
    category.mkdir(parents=True)
    elsewhere.mkdir()
    (category / "a.jpg").touch()
    Path(os.fsdecode(os.fsencode(category) + b"/caf\xe9.jpg")).touch()
    (elsewhere / "hat.jpg").touch()
    (tmp_path / "feed" / "Hats").symlink_to(elsewhere)
    assert [row.id for row in read(tmp_path / "feed", "imagefolder")] == ["Shirts.jpg/a", r"Shirts.jpg/caf\xe9"]
    assert "Hats is a link to a folder and is not followed" in caplog.text
