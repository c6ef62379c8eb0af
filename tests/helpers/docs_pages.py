"""Parses the documentation for tests: code blocks, commands, options and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cyclopts import App

from attire.cli import app

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class CodeBlock(NamedTuple):
    """A code block on a page. If it has a `title`, it is the content of the file of that name."""

    language: str
    title: str
    code: str


def pages() -> list[str]:
    """The paths of all pages in the repository."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(page.relative_to(ROOT).as_posix() for page in paths)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[CodeBlock]:
    return [CodeBlock(*match) for match in FENCE.findall(read(page))]


def commands(block: CodeBlock) -> Iterator[list[str]]:
    """The words of each command in a shell block."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def of_attire(words: list[str]) -> list[str] | None:
    """The arguments of attire, None if the command starts another program."""
    if words[0] == "attire":
        return words[1:]
    module = words.index("-m") + 1 if "-m" in words else len(words)
    return words[module + 1 :] if words[module : module + 1] == ["attire"] else None


def prose(page: str) -> str:
    """The page without code blocks."""
    return FENCE.sub("", read(page))


def links(page: str) -> list[str]:
    """The relative links of a page, without fragments."""
    return [link for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", prose(page)) if "://" not in link]


def options() -> set[str]:
    """The options of all verbs."""
    return {name for verb in _verbs(app) for argument in verb.assemble_argument_collection() for name in argument.names}


def _verbs(parent: App) -> Iterator[App]:
    if parent.default_command:
        yield parent
    for name in parent:
        if not name.startswith("-"):
            yield from _verbs(parent[name])
