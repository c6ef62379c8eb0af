"""Read the published files of Shopify's and Google's taxonomies, in full or in part, told apart by their content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from attire.errors import TaxonomyError, shown
from attire.files import read_json, regular
from attire.records import checked
from attire.references.published import DataAttributes, DataCategory, DataMapping, DataValue, Dist
from attire.references.reference import PATH, Attribute, Category, Reference, Shop, Value

SUFFIXES = (".json", ".yml", ".yaml", ".txt")
FOLDERS = ("*", "categories/*", "attributes/*")  # of Shopify's `dist/en` and `data`, without translations
LINE = re.compile(r"(?:gid://shopify/TaxonomyCategory/(?P<shopify>[\w-]+) *:|(?P<google>\d+) *-) (?P<path>.+)")
OTHER_LINE = re.compile(r"gid://shopify/Taxonomy(Attribute|Value)/")
EXPECTED = (
    "Expected files of Shopify's taxonomy (taxonomy.json, categories.json and attributes.json of dist/en, or the YAML "
    "of data/), or Google's list of categories (taxonomy-with-ids.en-US.txt)."
)
Kind = TypeVar("Kind", bound=BaseModel)


@dataclass
class _Parts:
    """What the files read so far contain. YAML refers to attributes and values by friendly id."""

    categories: dict[Shop, dict[str, Category]] = field(default_factory=lambda: {"shopify": {}, "google": {}})
    attributes: dict[str, Attribute] = field(default_factory=dict)
    google_of: dict[str, str] = field(default_factory=dict)
    data_categories: dict[str, DataCategory] = field(default_factory=dict)
    data_attributes: list[DataAttributes] = field(default_factory=list)
    data_values: dict[str, DataValue] = field(default_factory=dict)


def is_reference(path: str | Path) -> bool:
    """Whether the path is a file or folder that `load_reference` may read, as opposed to a taxonomy.toml."""
    return Path(path).is_dir() or Path(path).suffix.lower() in SUFFIXES


def load_reference(paths: Iterable[str | Path]) -> Reference:
    """Read files, and folders of files. Other files in a folder are ignored.

    Raises `TaxonomyError` for a file that cannot be read or is none of the published files, and if there is no category
    or no names for the values of attributes.
    """
    parts = _Parts()
    given = [Path(path) for path in paths]
    for path in given:
        if path.is_dir():
            for file in _files(path):
                _read(file, parts, strict=False)
        else:
            _read(path, parts, strict=True)
    _add_data(parts, given)
    if not any(parts.categories.values()):
        raise TaxonomyError(f"{_listed(given)}: no category was found. {EXPECTED}")
    return Reference(parts.categories, parts.attributes, parts.google_of)


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths)) or "no files are given"


def _files(folder: Path) -> list[Path]:
    found = (path for pattern in FOLDERS for path in folder.glob(pattern))
    return sorted(path for path in found if path.is_file() and path.suffix.lower() in SUFFIXES)


def _read(path: Path, parts: _Parts, *, strict: bool) -> None:
    """Add the content of a file. `strict`: a file of another content is an error, instead of being ignored."""
    try:
        known = _read_text(path, parts) if path.suffix.lower() == ".txt" else _add(_document(path), parts)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise TaxonomyError(f"cannot read {path}: {reason}. Download it again.") from None
    if strict and not known:
        raise TaxonomyError(f"{path} is not a file of a published taxonomy. {EXPECTED}")


def _document(path: Path) -> Any:
    if path.suffix.lower() == ".json":
        return read_json(regular(path))
    try:
        # The base loader makes no Python objects, and keeps `no`, `3/4` and `1.5` as texts.
        return yaml.load(regular(path).read_bytes(), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
    except RecursionError:
        raise ValueError("its lists are nested too deeply") from None


def _read_text(path: Path, parts: _Parts) -> bool:
    """Lists of categories: Google's `166 - Apparel & Accessories`, or Shopify's `gid://... : Apparel & Accessories`."""
    found = False
    for line in regular(path).read_text(encoding="utf-8-sig").splitlines():
        text = line.strip()
        if not text or text.startswith("#") or OTHER_LINE.match(text):
            continue
        match = LINE.fullmatch(text)
        if match is None:
            if not found:
                return False
            raise ValueError(f"expected 'ID - CATEGORY > ...', got '{shown(text)}'")
        shop: Shop = "shopify" if match["shopify"] else "google"
        id = match[shop]
        parts.categories[shop].setdefault(id, Category(id, match["path"]))
        found = True
    return found


def _add(content: Any, parts: _Parts) -> bool:
    """Add a JSON or YAML document; returns False for an unknown one."""
    if isinstance(content, list) and content and all(isinstance(entry, dict) for entry in content):
        if "children" in content[0]:
            parts.data_categories.update((entry.id, entry) for entry in _each(content, DataCategory))
            return True
        if "friendly_id" in content[0] and "handle" in content[0]:
            parts.data_values.update((entry.friendly_id, entry) for entry in _each(content, DataValue))
            return True
    if not isinstance(content, dict) or not content:
        return False
    if all(isinstance(id, str) and id.isdecimal() and isinstance(path, str) for id, path in content.items()):
        parts.categories["google"].update((id, Category(id, path)) for id, path in content.items())
        return True
    if "base_attributes" in content:
        parts.data_attributes.append(checked(content, DataAttributes))
        return True
    if "rules" in content:
        mapping = checked(content, DataMapping)
        if mapping.output_taxonomy.startswith("google"):
            for rule in mapping.rules:
                _add_google(rule.input.product_category_id, rule.output.product_category_id, parts)
        return True
    if content.keys() & {"verticals", "attributes", "mappings"}:
        _add_dist(checked(content, Dist), parts)
        return True
    return False


def _each(entries: Sequence[Any], kind: type[Kind]) -> list[Kind]:
    return [checked(entry, kind) for entry in entries]


def _add_google(shopify: str | list[str], google: str | list[str], parts: _Parts) -> None:
    ids = [google] if isinstance(google, str) else google
    for id in [shopify] if isinstance(shopify, str) else shopify:
        if ids:
            parts.google_of[_short(id)] = ids[0]


def _add_dist(dist: Dist, parts: _Parts) -> None:
    for vertical in dist.verticals:
        for category in vertical.categories:
            id = _short(category.id)
            attributes = tuple(attribute.handle for attribute in category.attributes)
            parts.categories["shopify"][id] = Category(id, category.full_name, attributes)
    for attribute in dist.attributes:
        values = tuple(Value(value.handle, value.name) for value in attribute.values)
        names = [(attribute.handle, attribute.name)]
        names += [(other.handle, other.name) for other in attribute.extended_attributes]
        parts.attributes.update((handle, Attribute(handle, name, values)) for handle, name in names)
    for mapping in dist.mappings:
        if mapping.output_taxonomy.startswith("google"):
            for rule in mapping.rules:
                _add_google(rule.input.category.id, [category.id for category in rule.output.category], parts)


def _short(gid: str) -> str:
    """`aa-1-4`, from `gid://shopify/TaxonomyCategory/aa-1-4` or itself."""
    return gid.rpartition("/")[2]


def _add_data(parts: _Parts, paths: Sequence[Path]) -> None:
    """Resolve the friendly ids of the YAML files."""
    values_of = {}
    handles = {}
    for attributes in parts.data_attributes:
        for base in attributes.base_attributes:
            if missing := [id for id in base.values if id not in parts.data_values]:
                raise TaxonomyError(
                    f"{_listed(paths)}: the value '{shown(missing[0])}' of the attribute '{shown(base.name)}' has no "
                    "name. Give data/values.yml too."
                )
            values_of[base.friendly_id] = tuple(
                Value(parts.data_values[id].handle, parts.data_values[id].name) for id in base.values
            )
            handles[base.friendly_id] = base.handle
            parts.attributes[base.handle] = Attribute(base.handle, base.name, values_of[base.friendly_id])
    for attributes in parts.data_attributes:
        for extended in attributes.extended_attributes:
            handles[extended.friendly_id or extended.handle.replace("-", "_")] = extended.handle
            values = values_of.get(extended.values_from, ())
            parts.attributes[extended.handle] = Attribute(extended.handle, extended.name, values)
    above = {child: entry for entry in parts.data_categories.values() for child in entry.children}
    for id, entry in parts.data_categories.items():
        names, top, seen = [entry.name], entry, {id}
        while (parent := above.get(top.id)) is not None and parent.id not in seen:
            names.append(parent.name)
            seen.add(parent.id)
            top = parent
        if "-" in top.id:
            raise TaxonomyError(f"{_listed(paths)}: the categories above '{shown(top.id)}' are missing. Give them too.")
        ids = tuple(handles.get(friendly, friendly.replace("_", "-")) for friendly in entry.attributes)
        parts.categories["shopify"][id] = Category(id, PATH.join(reversed(names)), ids)
