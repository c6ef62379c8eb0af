"""Records: any damage raises `ValueError` with a message of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from attire.files import read_json
from attire.records import read_as, read_toml


class Point(BaseModel, extra="forbid"):
    x: int
    y: int


DAMAGED = {
    "empty": b"",
    "truncated": b'{"x": 1, ',
    "nested": b"[" * 5000 + b"]" * 5000,
    "not UTF-8": b'"\xff"',
    "lone surrogate": b'"\\ud800"',
    "a number of 5,000 digits": b"9" * 5000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_json_gives_a_message_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]{5,}$"):
        read_json(path)


@pytest.mark.parametrize(
    "content", [b"a = ", b'a = "\xe9"', b"a = " + b"[" * 5000 + b"]" * 5000, b"a = " + b"9" * 5000]
)
def test_damaged_toml_gives_a_message_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]{5,}$"):
        read_toml(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[]", "valid dictionary"),
        ('{"x": 1}', "^y: Field required$"),
        ('{"x": "a", "y": [], "z": 1, "w": 2}', r"^x: .*; y: .*; z: .*; and 1 more$"),
    ],
)
def test_a_record_with_other_fields_lists_each_fault(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=fault):
        read_as(path, Point)


def test_a_valid_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"x": 1, "y": 2}')
    assert read_as(path, Point) == Point(x=1, y=2)
    with pytest.raises(FileNotFoundError):
        read_as(tmp_path / "none.json", Point)
