"""The documentation: its code runs on a tiny feed, and its options, links and packages exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.docs_pages import ROOT, blocks, commands, links, of_attire, options, pages, prose, read
from helpers.drawn_feed import draw_feed

from attire.cli import app
from attire.config import Recipe, load_recipe
from attire.model.backbone import create_backbone
from attire.training import run

SMALL = {"backbone": "test_resnet", "size_px": (32, 24), "batch_size": 16, "amp": "off"}
TOURS = ("README.md", "docs/index.md")
RUN = (
    "a-week-with-attire",
    "clean-a-feed",
    "train",
    "evaluate",
    "predict",
    "fill",
    "drift",
    "what-to-label-next",
    "scale",
    "reference/api",
)  # each runs in a copy of the folder after the tour
LOGS = ("CHANGELOG.md", "docs/experiments.md", "docs/decisions/")  # describe earlier versions
OTHERS = {"--help", "--version"}  # options of every verb


@pytest.fixture(autouse=True)
def tiny_networks() -> Iterator[None]:
    """Train tiny networks with random weights."""

    def small(recipe: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
        stages = {"attributes": {"epochs": 1}, **({} if recipe in ("audit", "frozen") else {"category": {"epochs": 1}})}
        return load_recipe(recipe, {**(overrides or {}), **SMALL, **stages})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attire.model.network.create_backbone", lambda *_: create_backbone("test_resnet", "none"))
        patch.setattr(run, "load_recipe", small)
        for module in ("cli.training", "cli.auditing", "auditing.audit", "learning_curve.curve"):
            patch.setattr(f"attire.{module}.load_recipe", small)
        yield


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop's directory with a feed; the first use of `shop` runs the README's tour in it."""
    folder = tmp_path_factory.mktemp("shop")
    draw_feed(folder, products=60)
    for name in ("front.jpg", "back.jpg"):
        shutil.copy(folder / "photos" / "0.png", folder / name)
    return folder


@pytest.fixture
def shop(toured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shop after the tour."""
    if not (toured / "predictions.csv").is_file():
        monkeypatch.chdir(toured)
        follow(TOURS[0], "bash")
    folder = tmp_path / "shop"
    shutil.copytree(toured, folder)
    monkeypatch.chdir(folder)
    return folder


def follow(page: str, *languages: str) -> dict[str, Any]:
    """Run a page's code from top to bottom in the current directory; returns its Python namespace."""
    namespace: dict[str, Any] = {}
    for block in blocks(page):
        if block.title and not block.code.startswith("--8<--"):
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.language not in languages:
            continue
        elif block.language == "python":
            exec(compile(block.code, page, "exec"), namespace)
        else:
            for words in commands(block):
                arguments = of_attire(words)
                if arguments is None:
                    subprocess.run(words, check=True)
                else:
                    app(arguments, result_action="return_value")
    return namespace


def test_the_tour_runs(shop: Path) -> None:
    assert (shop / "reports/quick/report.html").is_file()
    assert (shop / "predictions.csv").is_file()
    tours = [[block for block in blocks(page) if block.language == "bash"] for page in TOURS]
    assert tours[0] == tours[1]


def test_the_python_of_the_readme_runs(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(shop / "catalog")
    report = follow("README.md", "python")["report"]
    assert set(report.baselines) == {"mode", "mode_within_category", "mode_within_predicted_category"}
    assert report.provenance.split == "val"
    assert re.search(r"'colour': (Answer\(values=|Abstained\(reason=)", capsys.readouterr().out)


@pytest.mark.parametrize("page", RUN)
@pytest.mark.usefixtures("shop")
def test_the_code_of_a_page_runs(page: str) -> None:
    follow(f"docs/{page}.md", "bash", "python")


@pytest.mark.parametrize("page", [page for page in pages() if not page.startswith(LOGS)])
def test_code_and_options_are_valid(page: str) -> None:
    for block in blocks(page):
        if block.language in ("bash", "sh"):
            for arguments in filter(None, map(of_attire, commands(block))):
                app.parse_args(arguments, exit_on_error=False, print_error=False)
        elif block.language == "python":
            compile(block.code, page, "exec")
        elif block.language == "toml" and "--8<--" not in block.code:
            tomllib.loads(block.code)
    flags = {
        flag
        for code in re.findall(r"`([^`\n]+)`", prose(page))
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    assert flags <= options() | OTHERS


@pytest.mark.parametrize("page", pages())
def test_links_exist(page: str) -> None:
    for link in links(page):
        assert (ROOT / page).parent.joinpath(link).is_file(), link


def test_the_tree_names_every_package() -> None:
    (tree,) = re.findall(r"^src/attire/\n((?:  .*\n)+)", read("README.md"), re.MULTILINE)
    names = set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) | set(re.findall(r" (\w+)/ ", tree))
    packages = {folder.parent.name for folder in (ROOT / "src/attire").glob("*/__init__.py")}
    assert packages == names
