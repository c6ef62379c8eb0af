"""Untrusted text reaches the terminal literally, however it is printed."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from typing import NoReturn
from unittest.mock import patch

import polars as pl
import pytest
from rich.console import Group
from rich.logging import RichHandler
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from attire.cli.app import app, console, error_console, facts, main, table
from attire.errors import FeedError
from attire.progress import Tracker, tracking
from attire.terminal import CONTROL, Console, visible

MARKUP = "x[/bold] [bold]y[/] :heart:"
CONTROLS = "\x1b]0;title\x07\x1b[31m\x9b2J\r\b\x7f\u202egnp\u2028\ud800"
HOSTILE = MARKUP + CONTROLS


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def log() -> None:
    root, attire = logging.getLogger(), logging.getLogger("attire")
    with patch.object(root, "handlers", []), patch.object(root, "level", root.level), patch.object(attire, "level", 0):
        main(lambda: logging.getLogger("attire.catalog").info("keys: %s", HOSTILE))


def refuse() -> None:
    def command() -> NoReturn:
        raise FeedError(HOSTILE)

    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2


def mistype() -> None:
    with pytest.raises(SystemExit) as ended:
        app(["ingest", f"--{HOSTILE}", HOSTILE])
    assert ended.value.code == 2


def show_progress() -> None:
    with tracking("a file") as tracker:
        tracker.say(HOSTILE)


def log_in_a_table() -> None:
    handler = RichHandler(console=error_console, show_time=False)
    handler.emit(logging.LogRecord("x", logging.INFO, HOSTILE, 1, HOSTILE, (), None))


WAYS: dict[str, Callable[[], object]] = {
    "error": refuse,
    "facts": lambda: console.print(facts({HOSTILE: HOSTILE})),
    "line": lambda: console.print(f"{HOSTILE}", style="bold"),
    "log": log,
    "log with its place": log_in_a_table,
    "mistyped option": mistype,
    "nested": lambda: console.print(Panel(Group(Text(HOSTILE), HOSTILE))),
    "progress": show_progress,
    "rule": lambda: console.rule(HOSTILE),
    "table": lambda: console.print(table(pl.DataFrame({MARKUP: [visible(CONTROLS)]}))),
    "table of texts": lambda: error_console.print(Table(HOSTILE, title=HOSTILE, caption=HOSTILE)),
}


@pytest.mark.parametrize("way", WAYS)
def test_text_is_shown_and_never_obeyed(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    WAYS[way]()
    printed = "".join(capsys.readouterr())
    assert MARKUP in printed
    assert not CONTROL.search(printed)
    assert "gnp" in printed


def test_a_terminal_gets_only_attires_own_styles() -> None:
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, color_system="standard", highlight=False).print(HOSTILE, style="bold red")
    assert screen.getvalue().startswith("\x1b[1;31mx[/bold]")
    assert not CONTROL.search(screen.getvalue().replace("\x1b[1;31m", "").replace("\x1b[0m", ""))


def test_a_bar_writes_only_the_cursor_codes_of_rich() -> None:
    screen = io.StringIO()
    Tracker(HOSTILE, None, "rows", 0, Console(file=screen, force_terminal=True, color_system=None, width=200)).close(
        False
    )
    drawn = re.sub(r"\x1b\[(\?25[lh]|2K|1A)|\r", "", screen.getvalue())
    assert MARKUP in drawn
    assert not CONTROL.search(drawn)


def test_every_control_is_replaced_by_a_visible_character() -> None:
    controls = [chr(code) for code in (*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x2066, 0xD800)]
    assert all(len(visible(control)) == 1 and visible(control).isprintable() for control in controls)
    assert visible("a\tb\nc é 👕 שלום") == "a\tb\nc é 👕 שלום"


def test_replaced_characters_keep_columns_aligned() -> None:
    screen = io.StringIO()
    shown = Table("word", "times")
    shown.add_row("\x1b\x1b\x1b\x1b\x1b\x1bred", "1")
    Console(file=screen, width=60).print(shown)
    assert len({len(line) for line in screen.getvalue().splitlines()}) == 1


def test_a_character_missing_in_the_encoding_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    main(lambda: console.print("écru"))
    assert written.getvalue() == b"\\xe9cru\n"
