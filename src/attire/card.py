"""The model card that stands in every bundle as its README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CARD = """\
# {recipe} on {backbone}: product photo to category and attributes

Says for a product photo which of {categories} categories it is and, of {keys} attribute keys with {values} values,
those that apply. Made by [attire](https://pypi.org/project/attire/) {attire} on {created}.

## Use

```python
import attire

predict = attire.Predictor("PATH/TO/THIS/DIRECTORY")
shirt = predict("photo.jpg")
print(shirt.category, shirt.attributes)
```

or `attire predict THIS_DIRECTORY PHOTOS --out predictions.csv`

## Scores on {scored_on}

{scores}

A figure is `–` where nothing could be measured. `attire evaluate` gives intervals, baselines and every key.

## What it fills by itself

{fills}

## How it was made

| | |
| --- | --- |
| recipe | {recipe}, seed {seed} |
| backbone | {backbone}, starting weights: {weights} |
| input | {height} x {width} px, {fit}, {interpolation} |
| decision | {decision} |
| catalog | {products} products, digest `{catalog}` |
| split | digest `{splits}` |
| libraries | {versions} |

## What to expect of it

It knows the words of its own taxonomy and photos like those it learned from; on other photos (worn, cluttered,
another shop's style) its confidence is not to be trusted before it was evaluated there. It reads {reads}:
what they do not show (fabric, who it is for) it guesses from looks. Labels that were wrong were learned as they stood.

## Words

{words}
"""


def model_card(spec: Mapping[str, Any], fills: Sequence[str]) -> str:
    """Markdown for people from the content of `bundle.json`; `fills` says in sentences how precisely it answers."""
    provenance, taxonomy, preprocess = spec["provenance"], spec["taxonomy"], spec["preprocess"]
    height, width = preprocess["size_px"]
    return _CARD.format(
        recipe=provenance.get("recipe", {}).get("name", "custom"),
        seed=provenance.get("recipe", {}).get("seed", "unknown"),
        backbone=spec["network"]["backbone"],
        weights=provenance.get("weights", "unknown"),
        categories=len(taxonomy["categories"]),
        keys=len(taxonomy["keys"]),
        values=sum(len(key["values"]) for key in taxonomy["keys"].values()),
        attire=provenance["versions"]["attire"],
        created=spec["created"],
        scored_on=provenance.get("scored_on", "nothing yet"),
        scores=_table(spec["scores"]),
        fills="\n".join(f"- {said}" for said in fills),
        height=height,
        width=width,
        fit=preprocess["fit"],
        reads="photos, and titles where there are any" if spec["network"]["text"] == "title" else "photos only",
        interpolation=preprocess["interpolation"],
        decision=", ".join(f"{name} {value}" for name, value in spec["decision"].items()),
        products=provenance.get("products", "unknown number of"),
        catalog=provenance.get("catalog", "unknown"),
        splits=provenance.get("splits", "unknown"),
        versions=", ".join(f"{name} {number}" for name, number in provenance["versions"].items()),
        words="\n".join(
            [f"- category: {', '.join(taxonomy['categories'])}"]
            + [f"- {name} ({key['arity']}): {', '.join(key['values'])}" for name, key in taxonomy["keys"].items()]
        ),
    )


def _table(scores: Mapping[str, float | None]) -> str:
    rows = [
        f"| {name.replace('_', ' ')} | {'–' if value is None else f'{value:.4f}'} |" for name, value in scores.items()
    ]
    return "\n".join(["| figure | value |", "| --- | --- |", *rows])
