"""Thumbnails in a filled workbook, read by openpyxl and, if it is installed, by LibreOffice."""

from __future__ import annotations

import csv
import shutil
import subprocess
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attire.catalog.sources import SourceOptions
from attire.catalog.sources.workbook import read_sheet
from attire.filling.feed_editor import Report, RowEdit
from attire.filling.thumbnails import thumbnails
from attire.filling.workbook_file import WorkbookFile
from attire.photos.lookup import PhotoLookup
from attire.photos.remote import Remote

pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")
openpyxl = pytest.importorskip("openpyxl")

COLUMNS = ("row", "id", "key", "status")
ROWS = [
    (2, "a", "colour", "filled"),
    (2, "a", "tags", "left open"),
    (3, "b & <c>", "colour", "filled"),
    (4, "broken", "colour", "filled"),
    (5, "=1+1", "", "unreadable"),
]
IMAGES = {"a": ["red.png"], "b & <c>": ["none.png", "wide.png"], "broken": ["broken.png"], "=1+1": []}


def feed_with_a_drawing(path: Path) -> Path:
    """A workbook with formulas, dates, colours and a picture of its own."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Products"
    sheet.append(["id", "colour", "tags", "day", "price", "total"])
    for number in range(2, 6):
        sheet.append([f"00{number}", None, None, date(2026, 11, number), 9.5 * number, f"=E{number}*2"])
    sheet["B2"].fill = openpyxl.styles.PatternFill("solid", fgColor="FFFFFF00")
    sheet["B3"].font = openpyxl.styles.Font(bold=True, color="FFFF0000")
    Image.new("RGB", (30, 30), "purple").save(path.with_name("logo.png"))
    sheet.add_image(openpyxl.drawing.image.Image(path.with_name("logo.png")), "H2")
    book.create_sheet("Notes")["A1"] = "kept"
    book.save(path)
    return path


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A filled workbook with thumbnails."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (60, 80), "red").save(photos / "red.png")
    Image.new("RGB", (900, 300), "blue").save(photos / "wide.png")
    (photos / "broken.png").write_bytes(b"broken")
    find = PhotoLookup([photos], tmp_path, tmp_path, Remote())
    editor = WorkbookFile(feed_with_a_drawing(tmp_path / "feed.xlsx"), SourceOptions())
    edits = [RowEdit(2, {"colour": ("red",), "tags": ("a", "b")}), RowEdit(3, {"colour": ("=1+1 é日",)})]
    report = Report(COLUMNS, ROWS, lambda ids: thumbnails(ids, IMAGES, find))
    editor.write(edits, report, tmp_path / "out.xlsx")
    return tmp_path / "out.xlsx"


def test_each_product_has_a_thumbnail_in_the_report(filled: Path) -> None:
    book = openpyxl.load_workbook(filled)
    sheet = book["attire"]
    rows = [tuple(cell or "" for cell in row) for row in sheet.iter_rows(values_only=True)]
    assert rows == [("photo", *COLUMNS), *(("", *row) for row in ROWS)]
    pictures = {picture.anchor._from.row + 1: picture for picture in sheet._images}
    assert sorted(pictures) == [2, 4]
    assert all(picture.anchor._from.col == 0 for picture in pictures.values())
    sizes = {row: (p.anchor.ext.width // 9525, p.anchor.ext.height // 9525) for row, p in pictures.items()}
    assert sizes == {2: (48, 64), 4: (64, 21)}
    shown = {row: np.asarray(Image.open(picture.ref).convert("RGB"))[5, 5] for row, picture in pictures.items()}
    assert {row: int(colour.argmax()) for row, colour in shown.items()} == {2: 0, 4: 2}
    assert sheet.row_dimensions[2].height == sheet.row_dimensions[4].height == 51
    assert sheet.row_dimensions[3].height is sheet.row_dimensions[6].height is None


def test_the_feed_keeps_its_own_drawing(filled: Path) -> None:
    before, after = zipfile.ZipFile(filled.with_name("feed.xlsx")), zipfile.ZipFile(filled)
    changed = {
        name for name in after.namelist() if name not in before.namelist() or before.read(name) != after.read(name)
    }
    assert {name for name in changed if name in before.namelist()} == {
        "[Content_Types].xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml",
        "xl/worksheets/sheet1.xml",
    }  # fmt: skip
    assert len(set(after.namelist())) == len(after.namelist())
    book = openpyxl.load_workbook(filled)
    assert len(book["Products"]._images) == 1
    assert book["Products"]["F3"].value == "=E3*2"


def test_filling_a_filled_workbook_again_keeps_its_pictures(filled: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.xlsx"
    find = PhotoLookup([tmp_path / "photos"], tmp_path, tmp_path, Remote())
    report = Report(COLUMNS, ROWS, lambda ids: thumbnails(ids, IMAGES, find))
    WorkbookFile(filled, SourceOptions()).write([], report, again)
    book = openpyxl.load_workbook(again)
    assert [len(book[name]._images) for name in book.sheetnames] == [1, 0, 2, 2]


def test_a_sheet_by_name(filled: Path) -> None:
    assert read_sheet(filled, "attire").columns == {name: place for place, name in enumerate(("photo", *COLUMNS), 1)}


def test_libreoffice_reads_the_filled_workbook(filled: Path, tmp_path: Path) -> None:
    program = shutil.which("soffice")
    if program is None:
        pytest.skip("LibreOffice is not installed")

    def convert(kind: str, suffix: str) -> Path:
        home = f"-env:UserInstallation={(tmp_path / 'home').as_uri()}"
        options = [home, "--headless", "--convert-to", kind, "--outdir", str(tmp_path / "converted")]
        subprocess.run([program, *options, str(filled)], check=True, capture_output=True, timeout=120)
        return tmp_path / "converted" / f"out.{suffix}"

    with convert("csv:Text - txt - csv (StarCalc):44,34,76", "csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:3] for row in rows] == [
        ["id", "colour", "tags"], ["002", "red", "a|b"], ["003", "=1+1 é日", ""], ["004", "", ""], ["005", "", ""],
    ]  # fmt: skip
    assert [row[5] for row in rows[1:]] == ["38", "57", "76", "95"]
    book = openpyxl.load_workbook(convert("xlsx", "xlsx"))
    assert book.sheetnames == ["Products", "Notes", "attire"]
    assert [len(sheet._images) for sheet in book] == [1, 0, 2]
    sheet = book["Products"]
    assert sheet["B2"].fill.fgColor.rgb == sheet["B3"].fill.fgColor.rgb == "FFC6EFCE"
    assert sheet["B3"].font.b
    assert sheet["D2"].value.date() == date(2026, 11, 2)
    assert sheet["F2"].value == "=E2*2"
    assert convert("pdf", "pdf").stat().st_size > 0
