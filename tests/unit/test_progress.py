"""Progress: regular lines in a log, nothing for quick work, and names without markup."""

from __future__ import annotations

import pytest

from attire.progress import track, tracking


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("attire.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_has_regular_lines_and_one_at_the_end(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with tracking("reading [b]photos[/b]", 100, "photos", done=10) as tracker:
        for _ in range(90):
            clock[0] += 1
            tracker.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading [b]photos[/b]: 12 of 100 photos, 1 photos/s, 1:28 left"
    assert lines[1] == "reading [b]photos[/b]: 42 of 100 photos, 1 photos/s, 0:58 left"
    assert lines[-1] == "reading [b]photos[/b]: 100 photos in 1:30"
    assert len(lines) == 4


def test_quick_work_prints_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "reading", "rows", 3)) == [0, 1, 2]
    clock[0] += 1
    assert capsys.readouterr().err == ""


def test_failed_work_does_not_look_finished(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with tracking("splitting"):
            clock[0] += 60
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert capsys.readouterr().err == ""
    with tracking("splitting"):
        clock[0] += 60
    assert capsys.readouterr().err == "splitting: 1:00\n"


def test_slow_work_shows_the_seconds_per_unit(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(2), "training", "epochs", 2):
        clock[0] += 7200
    assert capsys.readouterr().err.splitlines()[0] == "training: 1 of 2 epochs, 7,200 s each, 2:00:00 left"
