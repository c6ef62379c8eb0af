"""Editing single cells of a feed: without an edit every byte stays, with edits only those cells change."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from polars.testing import assert_frame_equal

from attire.catalog.sources import SourceOptions
from attire.errors import FeedError
from attire.filling.delimited_text import DelimitedText
from attire.filling.delimited_text import records as records_of
from attire.filling.encoded_text import Span
from attire.filling.feed_editor import FeedEditor, Report, RowEdit, Words
from attire.filling.json_lines import JsonLines
from attire.filling.json_members import members
from attire.filling.parquet_file import ParquetFile

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
AWKWARD = (
    "007",
    "12345678901234567890",
    "1.10",
    "2026-11-26",
    "=1+1",
    "-5",
    "NA",
    "",
    " x ",
    "é",
    "日本",
    "😀",
    "NULL",
)
texts = st.one_of(st.sampled_from(AWKWARD), st.text('ab,;\t"\r\n\\|\u2028é', max_size=6))
NO_REPORT = Report((), ())
Edits = Mapping[int, Mapping[str, Words]]


def edited(editor: FeedEditor, edits: Edits, out: Path) -> bytes:
    editor.write((RowEdit(*edit) for edit in sorted(edits.items())), NO_REPORT, out)
    return out.read_bytes()


def spans(text: str, delimiter: str) -> Iterator[tuple[int, list[Span]]]:
    """The number of the first line of each record, and the places of its cells in the text."""
    start = 0
    for number, record, cells in records_of(io.StringIO(text, newline=""), delimiter):
        yield number, [Span(start + span.start, start + span.stop) for span in cells]
        start += len(record)


def records(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The oracle: the cells of each record with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = []
    while True:
        number = reader.line_num + 1
        try:
            found.append((number, next(reader)))
        except StopIteration:
            return found


def unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


@quick
@given(text=st.text('a,;"\r\n ', max_size=30), delimiter=st.sampled_from(",;"))
def test_cells_are_where_the_csv_module_finds_them(text: str, delimiter: str) -> None:
    try:
        expected = records(text, delimiter)
    except csv.Error:
        assume(False)
    found = [
        (number, [unquoted(text[span.start : span.stop]) for span in cells]) for number, cells in spans(text, delimiter)
    ]
    assert found == expected


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], str, str]:
    """Cells, with the header id, colour, tags; their text as a CSV with mixed quotes; and its delimiter."""
    delimiter, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    rows = [[str(n), draw(texts), draw(texts)] for n in range(draw(st.integers(1, 4)))]

    def cell(text: str) -> str:
        quote = draw(st.booleans()) or any(c in text for c in (delimiter, '"', "\r", "\n"))
        return '"' + text.replace('"', '""') + '"' if quote else text

    lines = [["id", "colour", "tags"], *([cell(text) for text in row] for row in rows)]
    last = end if draw(st.booleans()) else ""
    return rows, end.join(delimiter.join(line) for line in lines) + last, delimiter


@quick
@given(table=tables(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]), data=st.data())
def test_only_the_edited_cells_of_a_csv_change(
    table: tuple[list[list[str]], str, str], encoding: str, data: st.DataObject, tmp_path: Path
) -> None:
    rows, text, delimiter = table
    feed, out = tmp_path / "feed.csv", tmp_path / "out.csv"
    feed.write_bytes(text.encode(encoding))
    editor = DelimitedText(feed, SourceOptions(delimiter=delimiter, encoding=encoding, separator="/"))
    assert edited(editor, {}, out) == feed.read_bytes()
    numbers = [number for number, cells in records(text, delimiter) if cells][1:]
    places = st.tuples(st.sampled_from(range(len(rows))), st.sampled_from([1, 2]))
    edits: dict[int, dict[str, tuple[str, ...]]] = {}
    for (row, column), word in data.draw(st.dictionaries(places, texts)).items():
        edits.setdefault(numbers[row], {})[("id", "colour", "tags")[column]] = (word, "b")
        rows[row][column] = f"{word}/b"
    result = edited(editor, edits, out).decode(encoding)
    assert [cells for _, cells in records(result, delimiter) if cells][1:] == rows
    before, after = ([*spans(content, delimiter)] for content in (text, result))
    for (number, old), (_, new) in zip(before, after, strict=True):
        for name, old_span, new_span in zip(("id", "colour", "tags"), old, new, strict=False):
            if name not in edits.get(number, {}):
                assert result[slice(*new_span)] == text[slice(*old_span)]


def test_a_byte_order_mark_is_kept(tmp_path: Path) -> None:
    feed, out = tmp_path / "feed.csv", tmp_path / "out.csv"
    feed.write_bytes(b'\xef\xbb\xbf"id",colour\r\n"007",\r\n8,""')
    edits: Edits = {2: {"colour": ("red",)}, 3: {"colour": ('a"b',)}}
    content = edited(DelimitedText(feed, SourceOptions()), edits, out)
    assert content == b'\xef\xbb\xbf"id",colour\r\n"007",red\r\n8,"a""b"'


def test_characters_that_the_encoding_lacks_are_refused(tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_bytes("id,colour\n1,é\n".encode("cp1252"))
    editor = DelimitedText(feed, SourceOptions(encoding="cp1252"))
    assert editor.refusal(2, "colour", ("é",)) == ""
    assert editor.refusal(2, "colour", ("日本",)) == "has characters that cp1252 lacks"


def test_an_encoding_with_several_ways_to_write_a_text_is_refused(tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_bytes(b"id,colour\n1,+AGE-\n")  # "a" in UTF-7, which needs no escape
    with pytest.raises(FeedError, match="Save it as UTF-8"):
        DelimitedText(feed, SourceOptions(encoding="utf-7"))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """A JSON object on one line, with any spacing."""
    content = (
        draw(st.dictionaries(texts, values, max_size=3))
        | {"id": "1"}
        | draw(st.dictionaries(st.sampled_from(["colour", "tags"]), values, max_size=2))
    )
    separators = (draw(st.sampled_from([",", ", ", " ,\t"])), draw(st.sampled_from([":", ": ", " : "])))
    line = json.dumps(content, ensure_ascii=draw(st.booleans()), separators=separators)
    return draw(st.sampled_from(["", " "])) + line.replace("}", draw(st.sampled_from(["}", " }"])))


@quick
@given(
    lines=st.lists(objects() | st.just(""), min_size=1, max_size=4),
    end=st.sampled_from(["\n", "\r\n"]),
    edits=st.dictionaries(
        st.integers(1, 4), st.dictionaries(st.sampled_from(["colour", "tags"]), st.tuples(texts, texts), min_size=1)
    ),
)
def test_only_the_edited_values_of_json_lines_change(
    lines: list[str], end: str, edits: dict[int, dict[str, tuple[str, ...]]], tmp_path: Path
) -> None:
    feed, out = tmp_path / "feed.jsonl", tmp_path / "out.jsonl"
    feed.write_bytes(end.join(lines).encode("utf-8"))
    editor = JsonLines(feed, SourceOptions(separator="/"))
    assert edited(editor, {}, out) == feed.read_bytes()
    edits = {row: cells for row, cells in edits.items() if row <= len(lines) and lines[row - 1]}
    result = edited(editor, edits, out).decode().split(end)
    assert len(result) == len(lines)
    for number, (line, changed) in enumerate(zip(lines, result, strict=True), 1):
        if number not in edits:
            assert changed == line
            continue
        before, after = json.loads(line), json.loads(changed)
        cells = {column: after[column] for column in edits[number]}
        assert list(after.items()) == list((before | cells).items())
        for column, words in edits[number].items():
            assert after[column] in ("/".join(words), list(words))
        for name, span in members(line)[0].items():
            if name not in edits[number]:
                new = members(changed)[0][name]
                assert changed[slice(*new)] == line[slice(*span)]


def test_json_values_have_the_kind_of_their_column(tmp_path: Path) -> None:
    feed, out = tmp_path / "feed.jsonl", tmp_path / "out.jsonl"
    feed.write_text(
        '{"id": 1, "size": 38.50, "tags": ["a"]}\n{"id": 2, "size": null}\n{"id": 3, "size": "", "tags": ""}\n'
    )
    edits: Edits = {2: {"size": ("40",), "tags": ("a", "b")}, 3: {"size": ("S",)}}
    assert edited(JsonLines(feed, SourceOptions()), edits, out).decode().splitlines() == [
        '{"id": 1, "size": 38.50, "tags": ["a"]}',
        '{"id": 2, "size": 40, "tags": ["a", "b"]}',
        '{"id": 3, "size": "S", "tags": ""}',
    ]


COLUMNS: dict[str, tuple[Any, Callable[[str], Any]]] = {
    "text": (pl.String, str),
    "list": (pl.List(pl.String), lambda word: [word]),
    "whole": (pl.Int64, int),
    "real": (pl.Float32, float),
    "category": (pl.Categorical, str),
    "enum": (pl.Enum(["1", "2"]), str),
}


@quick
@given(
    rows=st.lists(
        st.tuples(*(st.none() | st.sampled_from(["1", "2"]) for _ in COLUMNS), st.none() | st.dates()),
        min_size=1,
        max_size=5,
    ),
    edits=st.dictionaries(
        st.integers(1, 5), st.dictionaries(st.sampled_from([*COLUMNS]), st.sampled_from([("1",), ("2",)]), min_size=1)
    ),
)
def test_only_the_edited_cells_of_a_parquet_file_change(
    rows: list[tuple[str | date | None, ...]], edits: dict[int, dict[str, tuple[str, ...]]], tmp_path: Path
) -> None:
    feed, out = tmp_path / "feed.parquet", tmp_path / "out.parquet"
    content: dict[str, list[Any]] = {
        name: [None if row[n] is None else convert(str(row[n])) for row in rows]
        for n, (name, (_, convert)) in enumerate(COLUMNS.items())
    } | {"day": [row[-1] for row in rows]}
    schema: dict[str, Any] = {name: type for name, (type, _) in COLUMNS.items()} | {"day": pl.Date}
    pl.DataFrame(content, schema).write_parquet(feed, metadata={"owner": "shop"})
    editor = ParquetFile(feed, SourceOptions())
    assert edited(editor, {}, out) == feed.read_bytes()
    edits = {row: cells for row, cells in edits.items() if row <= len(rows)}
    for row, cells in edits.items():
        for column, (word,) in cells.items():
            assert editor.refusal(row, column, (word,)) == ""
            content[column][row - 1] = COLUMNS[column][1](word)
    edited(editor, edits, out)
    assert_frame_equal(pl.read_parquet(out), pl.DataFrame(content, schema), categorical_as_str=True)
    assert pl.read_parquet_schema(out) == pl.read_parquet_schema(feed)
    assert pl.read_parquet_metadata(out)["owner"] == "shop"


def test_parquet_columns_refuse_what_their_type_cannot_hold(tmp_path: Path) -> None:
    feed, out = tmp_path / "feed.parquet", tmp_path / "out.parquet"
    table = pl.DataFrame(
        {"size": [1], "fit": [None], "cut": ["a"]}, {"size": pl.Int8, "fit": pl.Null, "cut": pl.Enum("a")}
    )
    table.write_parquet(feed)
    editor = ParquetFile(feed, SourceOptions())
    assert editor.refusal(1, "size", ("S",)) == "does not fit the type of the column, Int8"
    assert editor.refusal(1, "cut", ("b",)).startswith("does not fit the type of the column, Enum")
    edited(editor, {1: {"fit": ("Slim", "Long")}}, out)
    assert pl.read_parquet(out)["fit"].to_list() == ["Slim|Long"]  # an empty column has no type to keep
