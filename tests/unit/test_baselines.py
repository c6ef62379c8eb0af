from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from attire.evaluation.baselines import (
    MODE,
    MODE_WITHIN_CATEGORY,
    MODE_WITHIN_PREDICTED,
    baselines,
    mode_within_category,
)
from attire.labels import Targets, encode
from attire.score.decisions import Decisions
from attire.score.metrics import headline, match
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Jeans", "Hats"),
    keys={
        "colour": Key(categories=("Shirts", "Jeans", "Hats"), values=("Red", "Blue", "Green")),
        "neck": Key(categories=("Shirts",), values=("Round", "Polo")),
        "fit": Key(categories=("Shirts", "Jeans"), values=("Slim", "Loose")),
    },
)
TRAIN = encode(
    TAXONOMY,
    ["Shirts", "Shirts", "Shirts", "Jeans", "Jeans", None],
    [
        {"colour": ("Red",), "neck": ("Polo",)},
        {"colour": ("Red",)},
        {"colour": ("Green",)},
        *[{"colour": ("Blue",)}] * 3,
    ],
)
TRUTH = encode(TAXONOMY, ["Shirts", "Jeans", "Hats", None], [{}, {}, {}, {}])
SHARED = Path(__file__).parents[2].parent / "shared" / "benchmarks" / "myntra26"


def _words(decisions: Decisions) -> list[list[str]]:
    words = [value for _, value in TAXONOMY.column_index]
    return [[words[i] for i in np.flatnonzero(row)] for row in decisions.chosen]


def test_mode_is_the_same_for_every_product_and_leaves_keys_without_labels_open() -> None:
    answers = baselines(TAXONOMY, TRAIN, TRUTH, TRUTH.category)[MODE]
    assert _words(answers) == [["Blue", "Polo"]] * 4
    assert answers.category.tolist() == [0, 0, 0, 0]
    assert answers.probability[0].tolist() == pytest.approx([2 / 6, 3 / 6, 1 / 6, 0, 1, 0, 0])


def test_mode_within_category_follows_the_true_category_and_falls_back_to_the_overall_mode() -> None:
    answers = baselines(TAXONOMY, TRAIN, TRUTH, TRUTH.category)[MODE_WITHIN_CATEGORY]
    # Shirts: their own mode. Jeans: no neck. Hats: not in train, so the overall colour. No category: the overall mode.
    assert _words(answers) == [["Red", "Polo"], ["Blue"], ["Blue"], ["Blue", "Polo"]]
    assert answers.category.tolist() == TRUTH.category.tolist()
    assert answers.probability[0, :3].tolist() == pytest.approx([2 / 3, 0, 1 / 3])


def test_mode_within_the_predicted_category_sees_only_what_the_model_predicted() -> None:
    predicted = np.array([1, 0, 2, -1])
    answers = baselines(TAXONOMY, TRAIN, TRUTH, predicted)[MODE_WITHIN_PREDICTED]
    assert _words(answers) == [["Blue"], ["Red", "Polo"], ["Blue"], []]
    assert answers.applies.tolist() == [*TAXONOMY.applies[[1, 0, 2]].tolist(), [False] * 3]
    assert answers.category.tolist() == predicted.tolist()


@pytest.mark.skipif(not SHARED.exists(), reason="needs the myntra26 labels in ../shared")
def test_the_reference_figures_on_myntra26() -> None:
    keys = json.loads((SHARED / "keys.json").read_text())
    with (SHARED / "public.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    taxonomy = Taxonomy(
        categories=tuple(sorted({row["category"] for row in rows})),
        keys={name: Key(categories=tuple(k["categories"]), values=tuple(k["values"])) for name, k in keys.items()},
    )

    def targets(rows: list[dict[str, str]]) -> Targets:
        labels = [{k: (row[k],) for k in keys if row[k]} for row in rows]
        return encode(taxonomy, [row["category"] for row in rows], labels)

    in_val = [int(row["group"], 16) % 4 == 0 for row in rows]
    train = targets([row for row, val in zip(rows, in_val, strict=True) if not val])
    truth = targets([row for row, val in zip(rows, in_val, strict=True) if val])
    figures = headline(match(taxonomy, truth, mode_within_category(taxonomy, train, truth.category)))
    assert figures["attribute_iou"] == pytest.approx(0.72, abs=0.02)
    assert figures["spurious_rate"] == 0
