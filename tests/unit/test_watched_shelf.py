from __future__ import annotations

import logging
from pathlib import Path

import pytest

from attire.serve.watched_shelf import WatchedShelf
from attire.shelf import HISTORY, ShelfEntry, add_entry


def put(shelf: Path, version: int, **fields: str) -> None:
    entry = {"action": "promote", "version": version, "digest": "", "who": "a", "when": "now", **fields}
    add_entry(shelf, ShelfEntry.model_validate(entry))


def test_only_another_present_version_is_a_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, 1)
    shelf = WatchedShelf(tmp_path)
    assert not shelf.changed()
    put(tmp_path, 2)
    assert [shelf.changed(), shelf.changed()] == [True, False]
    put(tmp_path, 2, action="rollback")
    assert not shelf.changed(), "the same version again"
    content = (tmp_path / HISTORY).read_bytes()
    (tmp_path / HISTORY).write_text("{")
    with caplog.at_level(logging.ERROR):
        assert [shelf.changed(), shelf.changed()] == [False, False]
    assert len(caplog.records) == 1
    (tmp_path / HISTORY).unlink()
    assert not shelf.changed()
    (tmp_path / HISTORY).write_bytes(content)
    assert not shelf.changed()
    put(tmp_path, 1, action="rollback")
    assert shelf.changed()


def test_a_bundle_does_not_change_by_itself(tmp_path: Path) -> None:
    shelf = WatchedShelf(tmp_path)
    (tmp_path / "bundle.json").write_text("{}")
    assert not shelf.changed()
