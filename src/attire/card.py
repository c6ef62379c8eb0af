"""The model card, which is the README of every bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

# Licences by the names that the Hugging Face Hub knows; it shows others by `license_name`.
_KNOWN_LICENCES = ("apache-2.0", "bsd-3-clause", "cc-by-nc-4.0", "mit")
_CARD = """\
---
{metadata}---

# {recipe} on {backbone}: product photo to category and attributes

Predicts one of {categories} categories for a product photo, and the values of those of its {keys} attribute keys
({values} values) that apply. Made with [attire](https://pypi.org/project/attire/) {attire} on {created}.

## Intended use

To fill categories and attributes of products in a shop's catalog from product photos. A field whose answer is not sure
enough is left open for a person. Nothing about people in photos is meant to be read from its answers.

## Use
{pull}
```python
import attire

predict = attire.Predictor("PATH/TO/THIS/DIRECTORY")
shirt = predict("photo.jpg")
print(shirt.category, shirt.attributes)
```

or `attire predict THIS_DIRECTORY PHOTOS --out predictions.csv`

## Scores on {scored_on}

{scores}

`–` means that there was nothing to measure. `attire evaluate` adds intervals, baselines and a table per key.

## Fields filled automatically

{fills}

## Training

| | |
| --- | --- |
| recipe | {recipe}, seed {seed} |
| backbone | {backbone}, starting weights: {weights} |
| licence of these weights | {licence} |
| input | {height} x {width} px, {fit}, {interpolation} |
| decision | {decision} |
| catalog | {products} products, digest `{catalog}` |
| split | digest `{splits}` |
| learned from | {learned} photos, calibration set included |
| libraries | {versions} |

## Limitations

The model knows only the categories and values of its own taxonomy, and photos like those it was trained on. Evaluate it
before you trust its confidence on other photos (worn, cluttered, another shop's style). It reads {reads}:
it can only guess what they do not show (fabric, target group). It also learned from wrong labels in the feed.

## Categories and values

{words}
"""


def model_card(spec: Mapping[str, Any], fills: Sequence[str], address: str = "") -> str:
    """The model card in Markdown, from the content of `bundle.json` and sentences (`fills`) on the precision.

    It starts with metadata for the Hugging Face Hub. `address`: where the bundle can be pulled from.
    """
    provenance, taxonomy, preprocess = spec["provenance"], spec["taxonomy"], spec["preprocess"]
    height, width = preprocess["size_px"]
    return _CARD.format(
        metadata=_metadata(provenance.get("weights_licence", "unknown")),
        pull=f"\nTo get this directory: `attire pull {address} --out DIRECTORY`\n" if address else "",
        recipe=provenance.get("recipe", {}).get("name", "custom"),
        seed=provenance.get("recipe", {}).get("seed", "unknown"),
        backbone=spec["network"]["backbone"],
        weights=provenance.get("weights", "unknown"),
        licence=provenance.get("weights_licence", "unknown"),
        categories=len(taxonomy["categories"]),
        keys=len(taxonomy["keys"]),
        values=sum(len(key["values"]) for key in taxonomy["keys"].values()),
        attire=provenance["versions"]["attire"],
        created=spec["created"],
        scored_on=provenance.get("scored_on", "nothing yet"),
        scores=_table(spec["scores"]),
        fills="\n".join(f"- {sentence}" for sentence in fills),
        height=height,
        width=width,
        fit=preprocess["fit"],
        reads="photos, and titles if there are any" if spec["network"]["text"] == "title" else "photos only",
        interpolation=preprocess["interpolation"],
        decision=", ".join(f"{name} {value}" for name, value in spec["decision"].items()),
        products=provenance.get("products", "unknown number of"),
        catalog=provenance.get("catalog", "unknown"),
        splits=provenance.get("splits", "unknown"),
        learned=provenance.get("learned", {}).get("photos", "unknown number of"),
        versions=", ".join(f"{name} {number}" for name, number in provenance["versions"].items()),
        words="\n".join(
            [f"- category: {', '.join(taxonomy['categories'])}"]
            + [f"- {name} ({key['arity']}): {', '.join(key['values'])}" for name, key in taxonomy["keys"].items()]
        ),
    )


def _metadata(licence: str) -> str:
    """YAML that the hub reads. The licence is that of the weights which the training started from."""
    named = {"license": licence} if licence in _KNOWN_LICENCES else {"license": "other", "license_name": licence}
    facts = {
        **named,
        "library_name": "attire",
        "pipeline_tag": "image-classification",
        "tags": ["attire", "e-commerce", "fashion", "multi-label-classification", "product-attributes"],
    }
    return str(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))


def _table(scores: Mapping[str, float | None]) -> str:
    rows = [
        f"| {name.replace('_', ' ')} | {'–' if value is None else f'{value:.4f}'} |" for name, value in scores.items()
    ]
    return "\n".join(["| figure | value |", "| --- | --- |", *rows])


def fact_table(facts: Mapping[str, object]) -> str:
    """Names and values as an HTML table, for notebooks."""
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{''.join(rows)}</table>"
