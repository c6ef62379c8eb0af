"""Editing single cells of a workbook, compared with openpyxl's view of it before and after."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.sources.workbook import read_sheet
from attire.errors import FeedError, MissingExtraError
from attire.filling.feed_editor import Report, RowEdit, Words
from attire.filling.workbook_file import WorkbookFile, column_number, letters
from attire.filling.xml_places import elements

pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")
openpyxl = pytest.importorskip("openpyxl")

REPORT = Report(("row", "id", "confidence", "reason"), [(2, "=1+1", 0.5, None)])
KEYS = ("colour", "size", "tags")
cells = st.one_of(
    st.none(),
    st.sampled_from(["007", "=1+1", "=SUM(A1:A2)", " x ", "a\nb", "é 日本 😀", "<&>\"'", "12345678901234567890"]),
    st.integers(-(10**9), 10**9),
    st.floats(-1e6, 1e6),
    st.booleans(),
    st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)).map(lambda time: time.replace(microsecond=0)),
)


def make(path: Path, rows: list[tuple[Any, ...]], top: int = 1, left: int = 1) -> Path:
    """A workbook with the rows on the first visible sheet, below and right of empty cells, and with other sheets."""
    book = openpyxl.Workbook()
    book.active.title = "hidden"
    book.active.sheet_state = "hidden"
    sheet = book.create_sheet("Feed & more")
    for down, row in enumerate(rows):
        for right, cell in enumerate(row):
            if cell is not None:
                sheet.cell(top + down, left + right, cell)
    sheet.cell(top, left).font = openpyxl.styles.Font(bold=True)
    sheet.column_dimensions["B"].width = 40
    other = book.create_sheet("Notes")
    other["A1"], other["B2"] = "kept", "=A1"
    book.active = sheet
    book.save(path)
    return path


def write(editor: WorkbookFile, edits: Mapping[int, Mapping[str, Words]], out: Path) -> None:
    editor.write((RowEdit(*edit) for edit in sorted(edits.items())), REPORT, out)


def contents(path: Path) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Value, number format and font of each cell of each sheet, as openpyxl reads them."""
    book = openpyxl.load_workbook(path)
    return {
        sheet.title: {
            cell.coordinate: (cell.value, cell.data_type, cell.number_format, cell.font.b)
            for row in sheet.iter_rows()
            for cell in row
            if cell.value is not None
        }
        for sheet in book.worksheets
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(cells, cells, cells, cells), min_size=1, max_size=4),
    edits=st.dictionaries(
        st.integers(0, 3),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from([("red",), ("=1+1", "<b>")]), min_size=1),
    ),
    top=st.integers(1, 3),
    left=st.sampled_from([1, 3, 26]),
)
def test_only_the_edited_cells_of_a_workbook_change(
    rows: list[tuple[Any, ...]], edits: dict[int, dict[str, tuple[str, ...]]], top: int, left: int, tmp_path: Path
) -> None:
    table = [("id", *KEYS, "price"), *((f"p{n}", *row) for n, row in enumerate(rows))]
    feed, out = make(tmp_path / "feed.xlsx", table, top, left), tmp_path / "out.xlsx"
    editor = WorkbookFile(feed, SourceOptions(separator="/"))
    edits = {top + 1 + row: cells for row, cells in edits.items() if row < len(rows)}
    write(editor, edits, out)
    before, after = contents(feed), contents(out)
    assert after.pop("attire") == {
        "A1": ("row", "s", "General", False), "B1": ("id", "s", "General", False),
        "C1": ("confidence", "s", "General", False), "D1": ("reason", "s", "General", False),
        "A2": (2, "n", "General", False), "B2": ("=1+1", "s", "General", False), "C2": (0.5, "n", "General", False),
    }  # fmt: skip
    changed = {
        f"{letters(left + 1 + KEYS.index(key))}{row}": "/".join(words)
        for row, cells in edits.items()
        for key, words in cells.items()
    }
    for place, text in changed.items():
        value, kind, number_format, _ = after["Feed & more"][place]
        assert (value, kind) == (text, "s")
        if place in before["Feed & more"]:
            assert number_format == before["Feed & more"][place][2]
            del before["Feed & more"][place]
        del after["Feed & more"][place]
    assert after == before
    book = openpyxl.load_workbook(out)
    filled = {
        cell.coordinate
        for row in book["Feed & more"].iter_rows()
        for cell in row
        if cell.fill.fgColor.rgb == "FFC6EFCE"
    }
    assert filled == set(changed)
    assert book.active.title == "Feed & more"
    parts = {name for name in zipfile.ZipFile(out).namelist() if changes(feed, out, name)}
    expected = {"xl/worksheets/attire1.xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "[Content_Types].xml"}
    assert parts == expected | ({"xl/worksheets/sheet2.xml", "xl/styles.xml"} if edits else set())


def changes(before: Path, after: Path, part: str) -> bool:
    archives = zipfile.ZipFile(before), zipfile.ZipFile(after)
    return part not in archives[0].namelist() or archives[0].read(part) != archives[1].read(part)


def rewrite(path: Path, part: str, change: Callable[[str], str]) -> Path:
    """Change the XML of a part."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


SHEET = "xl/worksheets/sheet2.xml"
ROWS: list[tuple[Any, ...]] = [("id", *KEYS, "price"), ("p1", None, 38, None, "=1+1"), ("p2", "red", None, "=B3", 5)]


def test_stored_results_of_formulas_are_read_and_kept(tmp_path: Path) -> None:
    feed, out = make(tmp_path / "feed.xlsx", ROWS), tmp_path / "out.xlsx"
    rewrite(feed, SHEET, lambda xml: re.sub(r"<f>1\+1</f><v ?(/>|></v>)", "<f>1+1</f><v>2</v>", xml))
    write(WorkbookFile(feed, SourceOptions()), {2: {"colour": ("blue",)}}, out)
    rows = dict(read_sheet(out).rows)
    assert rows[2] == {"id": "p1", "colour": "blue", "size": 38.0, "tags": "", "price": 2.0}
    assert openpyxl.load_workbook(out)["Feed & more"]["E2"].value == "=1+1"


def test_numbers_stay_numbers_in_a_column_of_numbers(tmp_path: Path) -> None:
    feed, out = make(tmp_path / "feed.xlsx", ROWS), tmp_path / "out.xlsx"
    write(WorkbookFile(feed, SourceOptions()), {3: {"size": ("40",)}, 2: {"colour": ("40",)}}, out)
    sheet = openpyxl.load_workbook(out)["Feed & more"]
    assert (sheet["C3"].value, sheet["B2"].value) == (40, "40")


def test_formulas_and_merged_cells_are_refused(tmp_path: Path) -> None:
    feed = make(tmp_path / "feed.xlsx", ROWS)
    book = openpyxl.load_workbook(feed)
    book["Feed & more"].merge_cells("C2:D2")
    book.save(feed)
    editor = WorkbookFile(feed, SourceOptions())
    assert editor.refusal(3, "tags", ("zip",)) == "has a formula"
    assert editor.refusal(2, "tags", ("zip",)) == "is hidden in merged cells"
    assert editor.refusal(2, "size", ("40",)) == editor.refusal(3, "size", ("40",)) == ""


def test_names_with_prefixes_and_cells_without_references(tmp_path: Path) -> None:
    feed, out = make(tmp_path / "feed.xlsx", ROWS), tmp_path / "out.xlsx"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    text = '<x:c t="inlineStr"><x:is><x:t>{}</x:t></x:is></x:c>'
    header = "".join(text.format(name) for name in ("id", *KEYS))
    xml = (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><x:worksheet xmlns:x="{main}"><x:sheetData>'
        f"<x:row>{header}</x:row>"
        f"<x:row>{text.format('p1')}<x:c/><x:c></x:c></x:row></x:sheetData></x:worksheet>"
    )
    rewrite(feed, SHEET, lambda _: xml)
    write(WorkbookFile(feed, SourceOptions()), {2: {"tags": ("c",), "colour": ("a",), "size": ("b",)}}, out)
    assert dict(read_sheet(out).rows) == {2: {"id": "p1", "colour": "a", "size": "b", "tags": "c"}}
    sheet = openpyxl.load_workbook(out)["Feed & more"]
    assert [cell.value for cell in sheet[2]] == ["p1", "a", "b", "c"]


def test_an_added_sheet_has_a_name_of_its_own(tmp_path: Path) -> None:
    feed, once, twice = make(tmp_path / "feed.xlsx", ROWS), tmp_path / "once.xlsx", tmp_path / "twice.xlsx"
    write(WorkbookFile(feed, SourceOptions()), {}, once)
    write(WorkbookFile(once, SourceOptions()), {}, twice)
    assert openpyxl.load_workbook(twice).sheetnames == ["hidden", "Feed & more", "Notes", "attire", "attire 2"]


def test_a_workbook_is_a_feed(tmp_path: Path) -> None:
    rows = [("id", "image", "category", "size", "day", None), (7.0, "a.png|b.png", "Shirts", 38, date(2026, 1, 2), "x")]
    feed = make(tmp_path / "feed.xlsx", rows, top=3, left=2)
    (row,) = SOURCES["table"](feed, SourceOptions())
    assert (row.number, row.id, row.category, row.images) == (4, "7", "Shirts", ("a.png", "b.png"))
    assert dict(row.labels) == {"size": ("38",), "day": ("2026-01-02",)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no visible sheet|is empty"),
        ([("id", "id")], "names id more than once"),
        ([("id", "image")], "has no rows"),
    ],
)
def test_a_workbook_without_products_is_refused(rows: list[tuple[Any, ...]], message: str, tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=message):
        list(SOURCES["table"](make(tmp_path / "feed.xlsx", rows), SourceOptions()))


@pytest.mark.parametrize("content", [b"", b"id,image\n", b"PK\x03\x04 damaged"])
def test_other_files_are_no_workbooks(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "feed.xlsx").write_bytes(content)
    with pytest.raises(FeedError, match="is not a readable workbook"):
        read_sheet(tmp_path / "feed.xlsx")


def test_damaged_parts_are_refused(tmp_path: Path) -> None:
    feed = make(tmp_path / "feed.xlsx", ROWS)
    for part in (SHEET, "xl/workbook.xml"):
        damaged = rewrite(feed, part, lambda xml: xml[: len(xml) // 2])
        with pytest.raises(FeedError, match=r"feed\.xlsx"):
            WorkbookFile(damaged, SourceOptions())


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtraError, match=r"attire\[excel\]"):
        read_sheet(make(tmp_path / "feed.xlsx", ROWS))


@given(number=st.integers(1, 16384))
def test_columns_have_letters(number: int) -> None:
    assert column_number(letters(number)) == number


def test_elements_are_located_by_bytes() -> None:
    document = "<?xml version='1.0'?><a é='&gt;>'><!-- <b/> --><b x='>'/><n:b>日<b></b></n:b></a>".encode()
    found = elements(document, frozenset("b"))
    assert [document[b.start : b.stop].decode() for b in found] == ["<b x='>'/>", "<n:b>日<b></b></n:b>", "<b></b>"]
    assert [document[b.inner :][:4] for b in found] == [b"<n:b", b"</n:", b"</b>"]
    for bad in (b"<a><b></a>", "<a/>".encode("utf-16"), b"<?xml version='1.0' encoding='latin-1'?><a/>"):
        with pytest.raises(ValueError, match=r"expected UTF-8|not valid XML"):
            elements(bad, frozenset("a"))
