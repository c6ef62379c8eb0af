"""Hooks that MkDocs calls: they add the documents of the repository root as pages, the table of recipes, and checks.

A warning fails the build (`strict` in mkdocs.yml).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import attire
from attire.config import load_recipe, recipe_fields, recipe_names

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "licence.md",
    "SECURITY.md": "security.md",
}
API, FIELDS = "reference/api.md", "<!-- fields of a recipe -->"
logger = get_plugin_logger(__name__)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the repository root, with links relative to the docs."""
    for name, page in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if not name.endswith(".md"):
            text = f"# Licence\n\n```text\n{text}```\n"
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Make links to documents of the root point to their pages, and insert the table of recipes."""
    for name, target in ROOT_PAGES.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(name)}(?=[)#])", rf"](\1{target}", markdown)
        if page.file.src_uri in ROOT_PAGES.values():
            markdown = markdown.replace(f"]({name})", f"]({target})")
    if page.file.src_uri == API:
        for gap in missing(markdown):
            logger.warning("%s: %s", API, gap)
    return markdown.replace(FIELDS, recipe_table())


def missing(page: str) -> Iterable[str]:
    """Yield what the API reference lacks: sections, docstrings, and examples of functions."""
    package = griffe.load("attire", search_paths=[str(ROOT / "src")], resolve_aliases=True)
    sections = dict(re.findall(r"^::: attire\.(\w+)\n(.*?)(?=^::: |^## |\Z)", page, re.MULTILINE | re.DOTALL))
    for name in attire.__all__:
        public = package[name].final_target
        if name not in sections:
            yield f"attire.{name} has no section"
        elif public.is_function and "```python" not in sections[name]:
            yield f"attire.{name} has no example"
        members = [public, *(member for member in public.members.values() if public.is_class and not member.is_alias)]
        for member in members:
            described = member is public or member.is_function or "property" in member.labels
            if described and not member.name.startswith("_") and not member.docstring:
                yield f"{member.path} has no docstring"


def recipe_table() -> str:
    """A table of all recipe fields, with the default and the values in the recipes that come with attire."""
    names = recipe_names()
    recipes = [load_recipe(name) for name in names]
    rows = [["field", "meaning", "default", *(f"`{name}`" for name in names)], ["---"] * (3 + len(names))]
    for path, description, default in recipe_fields():
        values = [_value(recipe, path) for recipe in recipes]
        cells = ["" if value in (default, None) else _cell(value) for value in values]
        rows.append([f"`{path}`", description, _cell(default), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _value(model: object, path: str) -> object:
    """The value at a dotted path, None if the recipe's loss or policy does not have it."""
    for name in path.split("."):
        model = getattr(model, name, None)
    return getattr(model, "name", model)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return "" if value is None else f"`{value}`"
