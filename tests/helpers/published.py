"""Small made-up taxonomies in the formats that Shopify and Google publish."""

from __future__ import annotations

import json
from pathlib import Path

CATEGORIES = {  # id -> path, and handles of attributes
    "xx": ("Garments", ("color",)),
    "xx-1": ("Garments > Tops", ("color", "pattern")),
    "xx-1-1": ("Garments > Tops > T-Shirts", ("color", "pattern", "sleeve-type", "top-features", "size")),
    "xx-1-2": ("Garments > Tops > Shirts", ("color", "sleeve-type", "target-gender")),
    "xx-2": ("Garments > Coats & Jackets", ("color",)),
    "xx-3": ("Garments > Sportswear", ("color",)),
    "xx-3-1": ("Garments > Sportswear > Running", ()),
    "xx-3-1-1": ("Garments > Sportswear > Running > Jackets", ("color",)),
    "xx-3-1-2": ("Garments > Sportswear > Running > Shirts", ("color",)),
    "xx-4": ("Garments > Belts", ("color", "belt-color")),
}
VALUES = {
    "color": ("Gray", "Red", "Rose gold", "Other"),
    "pattern": ("Dots", "Solid"),
    "sleeve-type": ("3/4", "Long", "Short"),
    "top-features": ("Hood", "No pockets"),
    "size": ("Extra small (XS)", "Large (L)"),
    "target-gender": ("Female", "Male", "Unisex"),
}
NAMES = {"belt-color": "Belt color", "sleeve-type": "Sleeve type", "target-gender": "Target gender"}
EXTENDED = {"belt-color": "color"}
GOOGLE = {
    "1": "Garments",
    "12": "Garments > Shirts & Tops",
    "13": "Garments > Belts",
    "14": "Garments > Bicycle Shorts & Briefs",
}
GOOGLE_OF = {"xx-1-1": "12", "xx-4": "13"}


def name(attribute: str) -> str:
    return NAMES.get(attribute, attribute.replace("-", " ").capitalize())


def slug(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text.lower()).strip("-")


def write_json(folder: Path) -> list[Path]:
    """`categories.json`, `attributes.json` and the mapping to Google, as in `dist/en`."""
    gid = "gid://shopify/TaxonomyCategory/"
    categories = [
        {
            "id": gid + id,
            "level": path.count(" > "),
            "name": path.rpartition(" > ")[2],
            "full_name": path,
            "parent_id": gid + id.rpartition("-")[0] if "-" in id else None,
            "attributes": [
                {"id": "gid://1", "name": name(handle), "handle": handle, "description": "", "extended": False}
                for handle in attributes
            ],
            "children": [],
            "ancestors": [],
        }
        for id, (path, attributes) in CATEGORIES.items()
    ]
    attributes = [
        {
            "id": "gid://2",
            "name": name(handle),
            "handle": handle,
            "description": "",
            "extended_attributes": [
                {"name": name(other), "handle": other} for other, base in EXTENDED.items() if base == handle
            ],
            "values": [{"id": "gid://3", "name": value, "handle": f"{handle}__{slug(value)}"} for value in values],
        }
        for handle, values in VALUES.items()
    ]
    rules = [
        {
            "input": {"category": {"id": gid + id, "full_name": CATEGORIES[id][0]}},
            "output": {"category": [{"id": google, "full_name": GOOGLE[google]}]},
        }
        for id, google in GOOGLE_OF.items()
    ]
    mapping = {"input_taxonomy": "shopify/1", "output_taxonomy": "google/1", "rules": rules}
    vertical = {"name": "Garments", "prefix": "xx", "categories": categories}
    contents = {
        "categories.json": {"version": "1", "verticals": [vertical]},
        "attributes.json": {"version": "1", "attributes": attributes},
        "to_google.json": {"version": "1", "mappings": [mapping]},
    }
    return [_write(folder / file, json.dumps(content)) for file, content in contents.items()]


def write_yaml(folder: Path) -> list[Path]:
    """The same as YAML, as in `data`."""
    categories = "---\n"
    for id, (path, attributes) in CATEGORIES.items():
        children = [child for child in CATEGORIES if child.rpartition("-")[0] == id]
        categories += f"- id: {id}\n  name: {path.rpartition(' > ')[2]}\n"
        categories += f"  children: [{', '.join(children)}]\n"
        categories += f"  attributes: [{', '.join(handle.replace('-', '_') for handle in attributes)}]\n"
    values, attributes_text = "", "base_attributes:\n"
    for handle, words in VALUES.items():
        friendly = handle.replace("-", "_")
        ids = [f"{friendly}__{slug(word).replace('-', '_')}" for word in words]
        attributes_text += f"- id: 1\n  name: {name(handle)}\n  friendly_id: {friendly}\n  handle: {handle}\n"
        attributes_text += f"  values: [{', '.join(ids)}]\n"
        for id, word in zip(ids, words, strict=True):
            values += f"- id: 1\n  name: {word}\n  friendly_id: {id}\n  handle: {handle}__{slug(word)}\n"
    attributes_text += "extended_attributes:\n"
    for handle, base in EXTENDED.items():
        attributes_text += f"- name: {name(handle)}\n  handle: {handle}\n  values_from: {base}\n"
    rules = "output_taxonomy: google/1\nrules:\n"
    for id, google in GOOGLE_OF.items():
        rules += f"- input:\n    product_category_id: {id}\n  output:\n    product_category_id: ['{google}']\n"
    contents = {"xx.yml": categories, "attributes.yml": attributes_text, "values.yml": values, "rules.yml": rules}
    return [_write(folder / file, content) for file, content in contents.items()]


def write_google(folder: Path) -> Path:
    """Google's list of categories with ids."""
    lines = ["# Google_Product_Taxonomy_Version: 2021-09-21", *(f"{id} - {path}" for id, path in GOOGLE.items())]
    return _write(folder / "taxonomy-with-ids.en-US.txt", "\n".join([*lines, ""]))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
