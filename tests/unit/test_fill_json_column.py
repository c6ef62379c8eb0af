"""Filling a column of JSON objects: only the members of keys change, in every format that can hold such a column."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from attire.catalog.sources import SOURCES, SourceOptions
from attire.errors import FeedError
from attire.filling.feed_editor import FeedEditor, Report, RowEdit
from attire.filling.fill import _editor
from attire.filling.json_column import JsonColumn
from attire.filling.json_lines import JsonLines

OPTIONS = SourceOptions(attributes="all")
AWKWARD = ["007", '"', "a,b", "é日", "\n", "=1+1", "\\", "1e5", ""]
values = st.none() | st.integers(-(10**20), 10**20) | st.sampled_from(AWKWARD)
lists = st.lists(st.sampled_from(AWKWARD), max_size=2)
contents = st.dictionaries(st.sampled_from(["colour", "tags", "note", 'a"b']), values | lists, max_size=4)
words = st.dictionaries(st.sampled_from(["colour", "tags"]), st.sampled_from(AWKWARD[:-1]), min_size=1)


def write(editor: FeedEditor, edits: Iterable[RowEdit], out: Path) -> Path:
    editor.write(edits, Report((), ()), out)
    return out


def save(rows: list[dict[str, Any] | None], feed: Path, ascii: bool) -> int:
    """Write the rows as a feed; returns the number of the first one."""
    texts = ["" if row is None else json.dumps(row, ensure_ascii=ascii) for row in rows]
    ids = [str(number) for number in range(len(rows))]
    table = pl.DataFrame({"id": ids, "all": texts}, {"id": pl.String, "all": pl.String})
    if feed.suffix == ".parquet":
        table.write_parquet(feed)
        return 1
    if feed.suffix == ".csv":
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows([table.columns, *table.rows()])
        feed.write_text(content.getvalue(), encoding="utf-8")
        return 2
    cells = texts if feed.name.endswith(".text.jsonl") else rows
    lines = [{"id": id, "all": cell} for id, cell in zip(ids, cells, strict=True)]
    feed.write_text("".join(json.dumps(line, ensure_ascii=ascii) + "\n" for line in lines), encoding="utf-8")
    return 1


def read(feed: Path) -> list[dict[str, Any] | None]:
    if feed.suffix == ".parquet":
        cells = pl.read_parquet(feed)["all"].to_list()
    elif feed.suffix == ".csv":
        with feed.open(encoding="utf-8", newline="") as file:
            cells = [line["all"] for line in csv.DictReader(file)]
    else:
        cells = [json.loads(line)["all"] for line in feed.read_text(encoding="utf-8").splitlines()]
    return [json.loads(cell) if isinstance(cell, str) and cell else cell or None for cell in cells]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(contents | st.none(), min_size=1, max_size=4),
    edits=st.dictionaries(st.integers(0, 3), words),
    ascii=st.booleans(),
    format=st.sampled_from(["csv", "jsonl", "text.jsonl", "parquet"]),
)
def test_only_the_edited_members_change(
    rows: list[dict[str, Any] | None], edits: dict[int, dict[str, str]], ascii: bool, format: str, tmp_path: Path
) -> None:
    feed, out = tmp_path / f"feed.{format}", tmp_path / f"out.{format}"
    first = save(rows, feed, ascii)
    assert write(_editor(feed, OPTIONS), [], out).read_bytes() == feed.read_bytes()
    changes = [
        RowEdit(first + row, {key: (word,) for key, word in cells.items()})
        for row, cells in sorted(edits.items())
        if row < len(rows)
    ]
    write(_editor(feed, OPTIONS), changes, out)
    before = read(feed)
    for number, (old, new) in enumerate(zip(before, read(out), strict=True)):
        changed = edits.get(number, {})
        if not changed:
            assert new == old
            continue
        assert new is not None
        assert {key: value for key, value in new.items() if key not in changed} == {
            key: value for key, value in (old or {}).items() if key not in changed
        }
        for key, word in changed.items():
            assert new[key] in (word, [word])


def test_text_of_other_members_stays(tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text('id,all\n1,"{ ""size"": 1.50,""tags"":[ ] , ""colour"":null}"\n2,NA\n3,"{""tags"": [""zip""]}"\n')
    edits = [RowEdit(2, {"colour": ("red",), "tags": ("logo", "zip")}), RowEdit(3, {"colour": ("blue",)})]
    out = write(_editor(feed, OPTIONS), edits, tmp_path / "out.csv")
    assert out.read_text() == (
        'id,all\n1,"{ ""size"": 1.50,""tags"":[""logo"", ""zip""] , ""colour"":""red""}"\n'
        '2,"{""colour"": ""blue""}"\n3,"{""tags"": [""zip""]}"\n'
    )


def test_the_category_is_a_column_of_its_own(tmp_path: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    feed.write_text('{"id": 1, "category": "", "all": {"size": 1}}\n{"id": 2}\n')
    edits = [RowEdit(1, {"category": ("Shirts",), "colour": ("red",)}), RowEdit(2, {"colour": ("red",)})]
    out = write(_editor(feed, OPTIONS), edits, tmp_path / "out.jsonl")
    assert out.read_text() == (
        '{"id": 1, "category": "Shirts", "all": {"size": 1, "colour": "red"}}\n{"id": 2, "all": {"colour": "red"}}\n'
    )


def test_a_workbook_can_have_a_json_column(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine", reason="the extra 'excel' is not installed")
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for line in [
        ("id", "image", "all"),
        ("1", "1.png", '{"size": "007"}'),
        ("2", "2.png", "=A1"),
        ("3", "3.png", None),
    ]:
        book.active.append(line)
    book.save(tmp_path / "feed.xlsx")
    editor = _editor(tmp_path / "feed.xlsx", OPTIONS)
    assert isinstance(editor, JsonColumn)
    assert editor.refusal(3, "colour", ("red",)) == "has a formula"
    edits = [RowEdit(2, {"colour": ("red",)}), RowEdit(4, {"colour": ("red",)})]
    out = write(editor, edits, tmp_path / "out.xlsx")
    labels = [row.labels for row in SOURCES["table"](out, OPTIONS)]
    assert labels == [{"size": ("007",), "colour": ("red",)}, {}, {"colour": ("red",)}]


def test_a_column_of_structures_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["1"], "all": [{"colour": "red"}]}).write_parquet(tmp_path / "feed.parquet")
    with pytest.raises(FeedError, match="all is a dict, and attire fill writes JSON objects as text"):
        _editor(tmp_path / "feed.parquet", OPTIONS)


def test_json_lines_need_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "feed.jsonl").write_text('{"id": 1}\n')
    assert isinstance(_editor(tmp_path / "feed.jsonl", OPTIONS), JsonLines)
