"""Synthetic answers and labels, for tests of reports."""

from __future__ import annotations

import numpy as np

from attire.config import DecisionRule
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Provenance
from attire.labels import Targets, encode
from attire.score.decisions import Accepted, confidence, decide
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Jeans", "Hats & <b>Caps</b>"),
    keys={
        "colour": Key(categories=("Shirts", "Jeans"), values=("Red", "Blue", "Green")),
        "neck": Key(categories=("Shirts",), values=("Round", "Polo")),
        "silent": Key(categories=("Jeans",), values=("Yes",)),
        "style": Key(arity="many", categories=("Shirts",), values=("Casual", "Formal", "Sports")),
    },
)
WITH_PARENTS = Taxonomy(
    categories=TAXONOMY.categories,
    keys={
        **TAXONOMY.keys,
        "colour": TAXONOMY.keys["colour"].model_copy(update={"parents": {"Red": "Blue", "Green": "Blue"}}),
    },
)
PROVENANCE = Provenance(bundle="b" * 64, catalog="c" * 64, split="val", splits="5" * 64, seed=7, attire="0.1.0")
N = 120
GROUPS = tuple(f"g{i // 2}" for i in range(N))


def labels(seed: int, n: int) -> Targets:
    """Random labels with gaps; the key `silent` has no labels and the category of hats has no products."""
    rng = np.random.default_rng(seed)
    stated = []
    for _ in range(n):
        row: dict[str, tuple[str, ...]] = {}
        for key in ("colour", "neck"):
            if rng.random() < 0.7:
                row[key] = (str(rng.choice(TAXONOMY.keys[key].values)),)
        if styles := tuple(value for value in TAXONOMY.keys["style"].values if rng.random() < 0.3):
            row["style"] = styles
        stated.append(row)
    return encode(TAXONOMY, [str(c) for c in rng.choice(TAXONOMY.categories[:2], n)], stated)


def synthetic_evidence(
    seed: int = 2, skill: float = 3, calibrated: bool = True, taxonomy: Taxonomy = TAXONOMY
) -> Evidence:
    """Noisy answers for the same `N` products; a larger `skill` gives better answers."""
    truth, rng = labels(1, N), np.random.default_rng(seed)
    decisions = decide(
        TAXONOMY,
        DecisionRule(),
        (rng.normal(0, 1, (N, 3)) + 2 * np.eye(3)[truth.category]).astype(np.float32),
        (rng.normal(0, 1, truth.hot.shape) + skill * truth.hot).astype(np.float32),
    )
    accepted = confidence(TAXONOMY, decisions) > 0.65
    sure_category = decisions.category_probability.max(axis=1) > 0.45
    ids = tuple(f"p{i:03d}" for i in range(N))
    filled = Accepted(sure_category, accepted, np.zeros_like(decisions.chosen)) if calibrated else None
    return Evidence(taxonomy, ids, GROUPS, truth, decisions, filled)
