"""Answers of a bundle are scored in the words of a taxonomy that has changed since."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic_evidence import TAXONOMY, synthetic_evidence

from attire.errors import CatalogError
from attire.evaluation.evidence import Evidence
from attire.evaluation.translation import Translation
from attire.labels import encode
from attire.score.metrics import headline, per_key
from attire.taxonomy import Key, Taxonomy


def changed(**keys: dict[str, object]) -> Taxonomy:
    """The taxonomy with other fields of some keys."""
    new = {name: key.model_copy(update=keys.get(name, {})) for name, key in TAXONOMY.keys.items()}
    return Taxonomy(**{**TAXONOMY.model_dump(), "keys": {name: key.model_dump() for name, key in new.items()}})


def in_words_of(taxonomy: Taxonomy, evidence: Evidence) -> Evidence:
    """The evidence with labels and answers in the words of another taxonomy."""
    words = Translation.between(evidence.taxonomy, taxonomy, "taxonomy.toml")
    labels: list[dict[str, list[str]]] = [{} for _ in evidence.ids]
    for (key, value), column in evidence.taxonomy.column_index.items():
        for row in np.flatnonzero(evidence.truth.hot[:, column]) if key in taxonomy.keys else ():
            labels[row].setdefault(key, []).append(taxonomy.value(key, value))
    categories = [evidence.taxonomy.categories[i] for i in evidence.truth.category]
    assert evidence.accepted is not None
    return Evidence(
        words.taxonomy,
        evidence.ids,
        evidence.groups,
        encode(taxonomy, categories, labels),
        words.decisions(evidence.decisions),
        words.accepted(evidence.accepted),
    )


def test_the_order_of_words_and_new_words_do_not_change_figures() -> None:
    keys = {
        name: Key(
            arity=key.arity, categories=(*key.categories, "Gloves"), values=("New", *reversed(key.values))
        ).model_dump()
        for name, key in reversed(TAXONOMY.keys.items())
    }
    later = Taxonomy(categories=("Gloves", *reversed(TAXONOMY.categories)), keys=keys)
    evidence = synthetic_evidence()
    assert headline(in_words_of(later, evidence).matches) == pytest.approx(headline(evidence.matches), nan_ok=True)
    (note,) = Translation.between(TAXONOMY, later, "").notes
    assert "cannot answer with them: Gloves, style: New, silent: New, neck: New, colour: New." in note
    assert Translation.between(TAXONOMY, TAXONOMY, "").notes == ()


def test_a_renamed_value_is_found_by_its_alias() -> None:
    evidence = synthetic_evidence()
    later = changed(colour={"values": ("Crimson", "Blue", "Green"), "aliases": {"Red": "Crimson"}})
    assert headline(in_words_of(later, evidence).matches) == pytest.approx(headline(evidence.matches), nan_ok=True)


def test_values_that_became_one_are_added() -> None:
    evidence = synthetic_evidence()
    later = changed(colour={"values": ("Blue", "Green"), "aliases": {"Red": "Blue"}})
    one, before = in_words_of(later, evidence), evidence.decisions
    assert (one.decisions.chosen[:, 0] == before.chosen[:, :2].any(axis=1)).all()
    assert one.decisions.probability[:, 0] == pytest.approx(before.probability[:, :2].sum(axis=1), abs=1e-6)
    iou = {name: headline(side.matches)["attribute_iou"] for name, side in (("one", one), ("two", evidence))}
    assert iou["one"] > iou["two"]


def test_keys_that_are_gone_do_not_count_and_lost_words_are_refused() -> None:
    without = Taxonomy(**{**TAXONOMY.model_dump(), "keys": {"colour": TAXONOMY.keys["colour"].model_dump()}})
    words = Translation.between(TAXONOMY, without, "")
    assert words.notes == (
        "The taxonomy no longer has keys of the bundle, so answers on them do not count: neck, silent, style.",
    )
    assert in_words_of(without, synthetic_evidence()).matches.known.shape[1] == 1
    with pytest.raises(CatalogError, match=r"lacks words that it answers \(colour: Red, neck: Polo\)\. Add them there"):
        Translation.between(TAXONOMY, changed(colour={"values": ("Blue", "Green")}, neck={"values": ("Round",)}), "")
    other = Taxonomy(categories=("Shirts",))
    with pytest.raises(CatalogError, match=r"another taxonomy than taxonomy.toml, which lacks .*\(Jeans, Hats"):
        Translation.between(TAXONOMY, other, "taxonomy.toml")


def test_the_parents_are_those_of_the_catalog() -> None:
    """Coarse figures equal those in a taxonomy in which the kinds are other spellings of their parents."""
    evidence = synthetic_evidence()
    merged = changed(
        colour={"values": ("Blue", "Green"), "aliases": {"Red": "Blue"}},
        style={"values": ("Casual",), "aliases": {"Formal": "Casual", "Sports": "Casual"}},
    )
    later = changed(colour={"parents": {"Red": "Blue"}}, style={"parents": {"Sports": "Formal", "Formal": "Casual"}})
    coarse, one = in_words_of(later, evidence).matches, in_words_of(merged, evidence).matches
    figures = headline(coarse)
    assert coarse.coarse_iou == pytest.approx(one.iou)
    assert figures["coarse_iou"] == pytest.approx(headline(one)["attribute_iou"])
    assert figures["coarse_iou"] > figures["attribute_iou"] == headline(evidence.matches)["attribute_iou"]
    assert figures["precision_95"] > headline(evidence.matches)["precision_95"]
    assert np.isnan(per_key(later, coarse)["coarse_iou"]).tolist() == [False, True, True, False]
