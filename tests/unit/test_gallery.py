from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.synthetic_evidence import GROUPS, TAXONOMY, N, synthetic_evidence
from PIL import Image

from attire.errors import MissingExtraError
from attire.evaluation import gallery
from attire.evaluation.gallery import Pick
from attire.explanation.explain import Explanation, Question
from attire.neighbours.labelled_photos import Neighbour
from attire.photos.data_uri import thumbnail
from attire.taxonomy import CATEGORY

EVIDENCE = synthetic_evidence()
KEYS = list(TAXONOMY.keys)


def test_the_most_confident_mistakes_come_first_one_per_group() -> None:
    m = EVIDENCE.matches
    wrong = [
        (-m.confidence[row, key], row, key)
        for row in range(N)
        for key in range(len(KEYS))
        if m.known[row, key] and m.predicted[row, key] and not m.right[row, key]
    ]
    expected: dict[str, Pick] = {}
    for _, row, key in sorted(wrong):
        expected.setdefault(GROUPS[row], Pick(row, KEYS[key]))
    picks = gallery.confident_mistakes(EVIDENCE, 10)
    assert picks == list(expected.values())[:10]
    assert len(picks) == 10 < len(wrong)


def test_the_most_confident_category_mistakes() -> None:
    truth, decisions = EVIDENCE.truth, EVIDENCE.decisions
    picks = gallery.confident_category_mistakes(EVIDENCE, 5)
    sure = [decisions.category_probability[row].max() for row, _ in picks]
    assert sure == sorted(sure, reverse=True)
    assert all(truth.category[row] != decisions.category[row] for row, _ in picks)
    assert sure[0] == decisions.category_probability[truth.category != decisions.category].max()


def test_fields_left_open_have_a_label_apply_and_were_not_accepted() -> None:
    assert EVIDENCE.accepted is not None
    picks = gallery.left_open(EVIDENCE, 8)
    assert len(picks) == 8
    for row, key in picks:
        column = KEYS.index(key)
        assert EVIDENCE.matches.known[row, column]
        assert EVIDENCE.decisions.applies[row, column]
        assert not EVIDENCE.accepted.keys[row, column]
    assert gallery.left_open(synthetic_evidence(calibrated=False)) == []


def test_a_card_shows_stated_and_answered_values(tmp_path: Path) -> None:
    Image.new("RGB", (600, 300), "red").save(tmp_path / "photo.png")
    pick = gallery.confident_mistakes(EVIDENCE, 1)[0]
    card = gallery.card(EVIDENCE, pick, [tmp_path / "photo.png"])
    columns, values = TAXONOMY.columns[pick.key], np.array(TAXONOMY.keys[pick.key].values)
    assert (card.id, card.key) == (EVIDENCE.ids[pick.row], pick.key)
    assert card.stated == ", ".join(values[EVIDENCE.truth.hot[pick.row, columns]])
    assert card.answer == ", ".join(values[EVIDENCE.decisions.chosen[pick.row, columns]])
    assert card.confidence == pytest.approx(EVIDENCE.matches.confidence[pick.row, KEYS.index(pick.key)])
    assert not card.right
    assert card.answer not in [other.value for other in card.alternatives]
    assert card.second == ""
    kind, content = card.photo.split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (144, 72)


def test_mistakes_are_shown_with_heat_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 40), "white").save(tmp_path / "photo.png")
    photos = [[tmp_path / "photo.png"], [], [tmp_path / "photo.png"]]
    picks = [*gallery.confident_mistakes(EVIDENCE, 2), gallery.confident_category_mistakes(EVIDENCE, 1)[0]]
    cards = [gallery.card(EVIDENCE, pick, views) for pick, views in zip(picks, photos, strict=True)]
    requests: list[Question] = []

    def hot_corner(_bundle: object, questions: Sequence[Question]) -> Iterator[Explanation]:
        requests.extend(questions)
        heat = np.zeros((40, 40), np.float32)
        heat[:20, :20] = 1
        for _ in questions:
            yield Explanation(Image.new("RGB", (40, 40), "white"), heat, CATEGORY, "", (), "", True)

    monkeypatch.setattr(gallery, "explanations", hot_corner)
    bundle: Any = object()
    first, without_photo, category = gallery.with_heat_maps(bundle, cards, photos)
    assert [question.key for question in requests] == [picks[0].key, CATEGORY], (
        "a category mistake explains the category"
    )
    assert without_photo == cards[1]
    for card in (first, category):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(card.second.split(",")[1]))).convert("L"))
        assert picture[:18, :18].mean() > picture[22:, 22:].mean() + 50

    def missing(_bundle: object, _questions: object) -> Iterator[Explanation]:
        raise MissingExtraError("explaining an answer", "explain")

    monkeypatch.setattr(gallery, "explanations", missing)
    assert gallery.with_heat_maps(bundle, cards, photos) == cards


def test_mistakes_are_shown_with_similar_photos(tmp_path: Path) -> None:
    Image.new("RGB", (90, 120), "red").save(tmp_path / "photo.png")
    card = gallery.card(EVIDENCE, gallery.confident_mistakes(EVIDENCE, 1)[0], [])
    asked: list[tuple[object, ...]] = []

    class Photos:
        def nearest_of(self, *question: object) -> list[Neighbour]:
            asked.append(question)
            values = [("red",), ("red", "blue")]
            return [Neighbour(f"q{n}", 0, tmp_path / "photo.png", 0.9, words) for n, words in enumerate(values)]

    photos: Any = Photos()
    (found,) = gallery.with_similar(photos, [card])
    assert asked == [(card.id, 0, card.key, gallery.SIMILAR)]
    assert found.opinion == "2 of the 2 most similar photos state red."
    assert [(other.id, other.stated) for other in found.similar] == [("q0", "red"), ("q1", "red, blue")]
    assert Image.open(io.BytesIO(base64.b64decode(found.similar[0].photo.split(",")[1]))).size == (48, 64)
    assert found._replace(similar=(), opinion="") == card


def test_a_category_mistake_and_a_product_without_a_photo() -> None:
    pick = gallery.confident_category_mistakes(EVIDENCE, 1)[0]
    card = gallery.card(EVIDENCE, pick, [])
    assert card.label == "category"
    assert card.stated == TAXONOMY.categories[EVIDENCE.truth.category[pick.row]]
    assert card.answer == TAXONOMY.categories[EVIDENCE.decisions.category[pick.row]]
    assert card.photo == ""
    assert thumbnail(Path("nowhere.jpg"), 20) == ""
