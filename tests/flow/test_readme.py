"""The README's code runs as it stands, on a tiny feed; only the size of what is trained comes from elsewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from drawing import draw_feed

from attire.cli import app
from attire.config import Recipe, load_recipe
from attire.model.backbone import create_backbone
from attire.training import run

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SMALL = {"backbone": "resnet10t", "size_px": (32, 24), "batch_size": 16, "precision": "32-true"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory as the README supposes it, and tiny networks in place of downloaded ones."""
    draw_feed(tmp_path, products=60)
    for name in ("front.jpg", "back.jpg"):
        shutil.copy(tmp_path / "photos" / "0.png", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("attire.model.network.create_backbone", lambda *_: create_backbone("resnet10t", "none"))

    def small(recipe: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
        stages = {"attributes": {"epochs": 1}, **({} if recipe == "frozen" else {"category": {"epochs": 1}})}
        return load_recipe(recipe, {**(overrides or {}), **SMALL, **stages})

    monkeypatch.setattr(run, "load_recipe", small)
    monkeypatch.setattr("attire.config.load_recipe", small)


def test_the_tour_runs(tmp_path: Path) -> None:
    (tour,) = blocks("bash")
    for line in tour.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "attire"
        app(arguments, result_action="return_value")
    assert (tmp_path / "reports/quick/report.html").is_file()
    assert (tmp_path / "predictions.csv").is_file()


def test_the_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert set(names["report"].baselines) == {"mode", "mode_within_category"}
    assert names["report"].provenance.split == "val"
    assert re.search(r"'colour': (Answer\(values=|Abstained\(reason=)", capsys.readouterr().out)


def test_what_is_named_is_there() -> None:
    root = Path(__file__).parents[2]
    for link in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (root / link).is_file(), link
    (tree,) = re.findall(r"^src/attire/\n((?:  .*\n)+)", README, re.MULTILINE)
    named = set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) | set(re.findall(r" (\w+)/ ", tree))
    packages = {folder.parent.name for folder in (root / "src/attire").glob("*/__init__.py")}
    assert packages == named
