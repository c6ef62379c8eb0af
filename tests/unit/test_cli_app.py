"""The command line in this process: options with several values, the summary of ingest, and errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl
import pytest
from PIL import Image

from attire.cli import app
from attire.cli.app import main
from attire.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a feed and its photo, in which commands run."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (30, 40), "red").save(tmp_path / "photos" / "a.jpg")
    pl.DataFrame({"id": ["x"], "category": ["Tops"], "image": ["a.jpg"], **{n: ["1"] for n in "abcd"}}).write_csv(
        tmp_path / "feed.csv"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments: str) -> None:
    app(["ingest", "feed.csv", "--images", "photos", "--out", "catalog", *arguments], result_action="return_value")


def failure(command: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit status of a command that fails, and its output on stderr."""
    with pytest.raises(SystemExit) as end:
        main(command)
    return end.value.code, capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["--ignore", "a", "b", "c"], ["d"]),
        (["--ignore", "a", "--ignore", "b"], ["c", "d"]),
        (["--keys", "a", "d"], ["a", "d"]),
        (["--empty", "1", "--keys", "a", "--ignore", "b"], []),
    ],
)
def test_options_of_several_values_take_them_after_one_flag(
    folder: Path, arguments: Sequence[str], keys: Sequence[str]
) -> None:
    run(*arguments)
    assert sorted(set(pl.read_parquet(folder / "catalog" / "labels.parquet")["key"])) == keys


@pytest.mark.parametrize(
    ("needed", "several"),
    [
        (["ingest", "feed", "--images", "x", "--out", "y"], {"--images", "--keys", "--ignore", "--empty", "--schemes"}),
        (["predict", "b", "s", "--out", "y"], {"--images", "--keys", "--ignore", "--empty", "--schemes"}),
        (["serve", "b"], {"--fetch-hosts", "--cors-origins"}),
    ],
)
def test_every_option_that_may_be_repeated_takes_several_values(needed: list[str], several: set[str]) -> None:
    options = app[needed[0]].assemble_argument_collection()
    repeatable = {opt.name for opt in options if opt.token_count() == (1, True) and opt.name.startswith("--")}
    assert repeatable >= several
    for name in repeatable:
        app.parse_args([*needed, name, "1", "2", "3"], print_error=False, exit_on_error=False)


def test_a_mistyped_option_names_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    status, message = failure(lambda: run("--ignroe", "a"), capsys)
    assert status == 2
    assert "Unknown option: --ignroe. Did you mean --ignore?" in message


@pytest.mark.parametrize(
    ("arguments", "new"),
    [
        (["ingest", "f", "--images", "p", "--out", "o", "--cache", "256"], "--cache is now --cache-px."),
        (["train", "c", "--out", "o", "--start", "b"], "--start is now --init-from."),
        (["train", "c", "--out", "o", "--precision", "32-true"], "--precision is now --amp auto|bf16|off."),
    ],
)
def test_the_old_name_of_an_option_is_answered_with_the_new_one(
    arguments: Sequence[str], new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, message = failure(lambda: app(arguments), capsys)
    assert status == 2
    assert new in message


def test_an_old_name_in_the_options_file_is_answered_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "attire.toml").write_text("[train]\nstart = 'runs/a/bundle'\n")
    status, message = failure(lambda: app(["train", "c", "--out", "o"]), capsys)
    assert status == 2
    assert "--start is now --init-from." in message


def test_a_feed_at_a_url_is_refused_by_ingest() -> None:
    with pytest.raises(ConfigError, match=r"^https://h/feed\.csv is a URL, and ingest reads feeds on this machine"):
        app(["ingest", "https://h/feed.csv", "--images", "photos", "--out", "catalog"])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("delimiter", ";;", "expected one character"), ("separator", "", "expected at least one character")],
)
def test_options_of_feeds_are_refused_in_one_line(
    folder: Path, option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ingest", "f.csv", "--images", "p", "--out", "c"]
    status, text = failure(lambda: app([*arguments, f"--{option}={value}"]), capsys)
    assert status != 0
    assert f"--{option} '{value}': {message}" in text
    assert "pydantic" not in text
    (folder / "attire.toml").write_text(f"[ingest]\n{option} = '{value}'\n")
    assert f"--{option} '{value}': {message}" in failure(lambda: app(arguments), capsys)[1]


def test_the_summary_of_the_quarantine_shows_messages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["x", "Tops", "a.jpg"], *([f"y{n}", "Topz", "a.jpg"] for n in range(5)), ["z", "[/b]", "a.jpg"]]
    pl.DataFrame(rows, ["id", "category", "image"], orient="row").write_csv(folder / "feed.csv")
    (folder / "t.toml").write_text('categories = ["Tops"]')
    run("--taxonomy", "t.toml", "--bad-rows", "quarantine")
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if "Topz" in line)
    assert "category='Topz' is not one of 1 categories; did you mean 'Tops'?" in line
    assert line.split()[-2] == "5"
    assert "category='[/b]' is not one of 1 categories" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], 'Did you mean "train"?'),
        (["train", "catalog", "--out", "x", "--epocs", "3"], "Did you mean --epochs?"),
        (["train", "nowhere", "--out", "x"], "nowhere does not exist: run 'attire ingest' again"),
        (["ingest", "nowhere.csv", "--images", "photos", "--out", "x"], "cannot read nowhere.csv: No such file"),
        (["compare", "nowhere", "nowhere"], "nowhere has no scores.json"),
        (["train", "catalog", "--out", "x", "--recipe", "bsae"], "did you mean 'base'?"),
    ],
)
def test_mistakes_end_with_a_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = failure(lambda: app(arguments), capsys)
    assert status == 2
    assert message in " ".join(output.split())
    assert "Traceback" not in output


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise error

    return command


def test_expected_errors_print_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "runs/[/b]")
    assert failure(raising(missing), capsys) == (2, "error: runs/[/b]: No such file or directory.")
    status, message = failure(raising(MemoryError()), capsys)
    assert (status, message[:36]) == (2, "error: there is not enough memory. U")
    status, message = failure(raising(KeyboardInterrupt()), capsys)
    assert (status, message[:35]) == (130, "interrupted: finished work is saved")
    for bug in (RecursionError(), OSError("no errno"), KeyError("x")):
        with pytest.raises(type(bug)):
            main(raising(bug))


def test_an_interrupted_verb_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("attire.catalog.ingest.PhotoLookup", lambda *_: raising(KeyboardInterrupt())())
    status, message = failure(run, capsys)
    assert (status, "interrupted: finished work is saved" in message) == (130, True)


def test_a_closed_pipe_ends_a_command_quietly() -> None:
    code = "from attire.cli.app import console, main\nmain(lambda: [console.print('line ' * 20) for _ in range(5000)])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
