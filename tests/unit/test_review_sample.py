"""The precision corrected by the judged random sample of a catalog: found among its reviewed fields."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.accepted import with_categories

from attire.catalog.content import IN_FORCE, OVERRULED, REVIEWED
from attire.catalog.review_version import write_reviews
from attire.catalog.store import Catalog
from attire.config import DecisionRule
from attire.evaluation.evidence import Evidence
from attire.evaluation.review_sample import corrected_by_review
from attire.labels import contradicts
from attire.score.decisions import decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Review = tuple[str, str, str, list[str], bool]  # id, key, state, values, sampled


@pytest.fixture
def copy(catalog: Catalog, tmp_path: Path) -> Catalog:
    return Catalog.load(shutil.copytree(catalog.path, tmp_path / "catalog"))


def noisy_evidence(catalog: Catalog, accept: float = 0.9) -> Evidence:
    """Answers to the products of `catalog` of which some contradict its labels; a share `accept` of them is filled."""
    rng, truth, taxonomy = np.random.default_rng(0), catalog.targets(), catalog.taxonomy
    logits = rng.normal(0, 1, truth.hot.shape) + 3 * truth.hot
    category = 9 * np.eye(len(taxonomy.categories))[truth.category]
    decisions = decide(taxonomy, DecisionRule(), category.astype(np.float32), logits.astype(np.float32))
    accepted = rng.random(decisions.applies.shape) < accept
    groups = tuple(catalog.products["group"])
    return Evidence(taxonomy, tuple(catalog.ids), groups, truth, decisions, with_categories(taxonomy, accepted))


def write(catalog: Catalog, reviews: list[Review], status: str = IN_FORCE) -> Catalog:
    rows = [(id, key, state, values, "Ann", NOW, sampled, status, None) for id, key, state, values, sampled in reviews]
    return write_reviews(catalog.path, pl.DataFrame(rows, REVIEWED, orient="row"), set(), "test").catalog


def answers(evidence: Evidence) -> dict[tuple[str, str], list[str]]:
    """The values of each filled field."""
    taxonomy = evidence.taxonomy
    assert evidence.accepted is not None
    return {
        (id, key): [
            value
            for value, chosen in zip(
                taxonomy.keys[key].values, evidence.decisions.chosen[row, taxonomy.columns[key]], strict=True
            )
            if chosen
        ]
        for row, id in enumerate(evidence.ids)
        for a, key in enumerate(taxonomy.keys)
        if evidence.accepted.keys[row, a] and evidence.decisions.applies[row, a]
    }


def test_judged_fields_are_counted_by_what_the_feed_states(copy: Catalog) -> None:
    evidence = noisy_evidence(copy)
    filled = {field: values for field, values in answers(evidence).items() if copy[field[0]].labels.get(field[1])}
    against = {field: contradicts(values, copy[field[0]].labels[field[1]], {}) for field, values in filled.items()}
    disputed = [field for field, differs in against.items() if differs]
    agreed = [field for field, differs in against.items() if not differs]
    assert len(disputed) >= 6
    other = {"colour": "red", "tags": "logo"}
    reviews: list[Review] = [(*field, "known", filled[field], True) for field in [*disputed[:3], *agreed[:9]]]
    reviews += [(*disputed[3], "known", list(copy[disputed[3][0]].labels[disputed[3][1]]), True)]
    reviews += [(*agreed[9], "unknown", [], True)]  # the reviewer could not tell
    reviews += [(*field, "known", filled[field], False) for field in disputed[4:6]]  # found in another queue
    reviews += [(id, key, "known", [other[key]], True) for id, key in _left_open(evidence)[:2]]
    corrected = corrected_by_review(write(copy, reviews), evidence)
    assert corrected
    assert corrected.contradicting.model_dump() == {"filled": len(disputed), "judged": 4, "right": 3}
    assert corrected.agreeing.model_dump() == {"filled": len(agreed), "judged": 10, "right": 9}
    assert corrected.measured == pytest.approx(len(agreed) / len(filled))


def _left_open(evidence: Evidence) -> list[tuple[str, str]]:
    filled = answers(evidence)
    return [(id, key) for id in evidence.ids for key in evidence.taxonomy.keys if (id, key) not in filled]


def test_without_judged_fields_or_thresholds_nothing_is_corrected(copy: Catalog) -> None:
    evidence = noisy_evidence(copy)
    assert corrected_by_review(copy, evidence) is None
    fields = list(answers(evidence))
    reviewed = write(copy, [(*field, "known", answers(evidence)[field], False) for field in fields])
    assert corrected_by_review(reviewed, evidence) is None, "not a random sample"
    reviewed = write(copy, [(*field, "known", answers(evidence)[field], True) for field in fields])
    assert corrected_by_review(reviewed, evidence)
    unfitted = Evidence(evidence.taxonomy, evidence.ids, evidence.groups, evidence.truth, evidence.decisions)
    assert corrected_by_review(reviewed, unfitted) is None


def test_decisions_that_a_feed_overruled_do_not_count(copy: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = noisy_evidence(copy)
    reviewed = write(copy, [(*field, "known", values, True) for field, values in answers(evidence).items()])
    table = reviewed.reviewed.with_columns(status=pl.lit(OVERRULED))
    monkeypatch.setattr(reviewed, "reviewed", table)
    assert corrected_by_review(reviewed, evidence) is None


def test_products_that_are_not_evaluated_do_not_count(copy: Catalog) -> None:
    evidence = noisy_evidence(copy)
    reviewed = write(copy, [(*field, "known", values, True) for field, values in answers(evidence).items()])
    some = evidence.of_products(evidence.ids[:40])
    corrected, whole = corrected_by_review(reviewed, some), corrected_by_review(reviewed, evidence)
    assert corrected
    assert whole
    assert 0 < corrected.judged < whole.judged
