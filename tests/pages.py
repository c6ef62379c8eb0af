"""The pages of the documentation as tests read them: their code, their links, and what they say of the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cyclopts import App

from attire.cli import app

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class LogitsTable(NamedTuple):
    """A block of code on a page; `title` is the name of a file that it is the content of."""

    language: str
    title: str
    code: str


def pages() -> list[str]:
    """Every page, by its path in the repository."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(page.relative_to(ROOT).as_posix() for page in found)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[LogitsTable]:
    return [LogitsTable(*found) for found in FENCE.findall(read(page))]


def commands(block: LogitsTable) -> Iterator[list[str]]:
    """The words of each command of a shell block."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def of_attire(words: list[str]) -> list[str] | None:
    """What the command gives to attire, None where it starts something else."""
    if words[0] == "attire":
        return words[1:]
    module = words.index("-m") + 1 if "-m" in words else len(words)
    return words[module + 1 :] if words[module : module + 1] == ["attire"] else None


def prose(page: str) -> str:
    """The page without its blocks."""
    return FENCE.sub("", read(page))


def links(page: str) -> list[str]:
    """The relative links of a page, without what stands behind a '#'."""
    return [link for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", prose(page)) if "://" not in link]


def options() -> set[str]:
    """The options of all verbs."""
    return {name for verb in _verbs(app) for argument in verb.assemble_argument_collection() for name in argument.names}


def _verbs(of: App) -> Iterator[App]:
    if of.default_command:
        yield of
    for name in of:
        if not name.startswith("-"):
            yield from _verbs(of[name])
