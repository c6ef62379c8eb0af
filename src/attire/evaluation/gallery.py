"""Example products for the report: the most confident mistakes, and a sample of fields that were left open."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.errors import ConfigError, MissingExtraError
from attire.evaluation.evidence import Evidence
from attire.explanation.explain import Question, explanations
from attire.explanation.picture import overlay
from attire.neighbours.labelled_photos import LabelledPhotos, opinion
from attire.photos.data_uri import data_uri, thumbnail
from attire.prediction import Alternative
from attire.score.decisions import ALTERNATIVES
from attire.taxonomy import CATEGORY, key_label

logger = logging.getLogger(__name__)
SHOWN = 24  # examples per section
THUMBNAIL_PX = 144  # the longer side
SIMILAR, SIMILAR_PX = 3, 64  # similar photos of a card, and their longer side
MIN_PROBABILITY = 0.01  # of a listed alternative


class Pick(NamedTuple):
    """A product (its row in the evidence) and one of its keys, or `CATEGORY`."""

    row: int
    key: str


class Similar(NamedTuple):
    """A similar labelled photo: a data URI, the product, and what is stated of it."""

    photo: str
    id: str
    stated: str


class Card(NamedTuple):
    """The text and pictures shown for a pick. photo: a data URI, "" without a readable photo; second: a heat map.

    similar: labelled photos that are similar, and `opinion`, what most of them state.
    """

    id: str
    key: str
    stated: str
    answer: str
    right: bool
    open: bool  # the field was left open
    confidence: float
    alternatives: tuple[Alternative, ...]
    photo: str
    second: str = ""
    similar: tuple[Similar, ...] = ()
    opinion: str = ""

    @property
    def label(self) -> str:
        """The key as people read it."""
        return key_label(self.key)


def confident_mistakes(evidence: Evidence, shown: int = SHOWN) -> list[Pick]:
    """Wrong answers, the most confident first; one per group, because its products may share a photo."""
    m = evidence.matches
    rows, keys = np.nonzero(m.known & m.predicted & ~m.right)
    order = np.argsort(-m.confidence[rows, keys], kind="stable")
    names = list(evidence.taxonomy.keys)
    return _one_per_group(evidence, (Pick(int(rows[i]), names[keys[i]]) for i in order), shown)


def confident_category_mistakes(evidence: Evidence, shown: int = SHOWN) -> list[Pick]:
    """Products with a wrong category, the most confident first; one per group."""
    true, predicted = evidence.truth.category, evidence.decisions.category
    rows = np.flatnonzero((true >= 0) & (predicted >= 0) & (true != predicted))
    order = np.argsort(-evidence.decisions.category_probability[rows].max(axis=1, initial=0), kind="stable")
    return _one_per_group(evidence, (Pick(int(rows[i]), CATEGORY) for i in order), shown)


def left_open(evidence: Evidence, shown: int = SHOWN) -> list[Pick]:
    """A fixed random sample of pairs with a label that were left open."""
    if evidence.accepted is None:
        return []
    rows, keys = np.nonzero(evidence.matches.known & evidence.decisions.applies & ~evidence.accepted.keys)
    names = list(evidence.taxonomy.keys)
    order = np.random.default_rng(0).permutation(len(rows))
    return _one_per_group(evidence, (Pick(int(rows[i]), names[keys[i]]) for i in order), shown)


def card(evidence: Evidence, pick: Pick, photos: Sequence[Path]) -> Card:
    """Make the card of a pick, with the first of the product's `photos`."""
    taxonomy, (row, key), open = evidence.taxonomy, pick, False
    if key == CATEGORY:
        words, probability = taxonomy.categories, evidence.decisions.category_probability[row]
        stated, chosen = (
            np.arange(len(words)) == c[row] for c in (evidence.truth.category, evidence.decisions.category)
        )
        right = bool((stated & chosen).any())
    else:
        words, columns = taxonomy.keys[key].values, taxonomy.columns[key]
        probability = evidence.decisions.probability[row, columns]
        stated, chosen = evidence.truth.hot[row, columns].astype(bool), evidence.decisions.chosen[row, columns]
        index = list(taxonomy.keys).index(key)
        right = bool(evidence.matches.right[row, index])
        open = evidence.accepted is not None and not evidence.accepted.keys[row, index]
    others = [i for i in np.argsort(-probability, kind="stable") if not chosen[i] and probability[i] >= MIN_PROBABILITY]
    return Card(
        id=evidence.ids[row],
        key=key,
        stated=_join(words, stated),
        answer=_join(words, chosen),
        right=right,
        open=open,
        confidence=float(probability[chosen].prod()),
        alternatives=tuple(Alternative(words[i], float(probability[i])) for i in others[:ALTERNATIVES]),
        photo=thumbnail(photos[0], THUMBNAIL_PX) if photos else "",
    )


def with_heat_maps(bundle: ModelBundle, cards: Sequence[Card], photos: Sequence[Sequence[Path]]) -> list[Card]:
    """Add a heat map of the evidence for the answer to each card with a photo.

    `photos` are the photos of each card's product. Without the extra `explain`, or for a backbone without maps, the
    reason is logged and the cards are returned unchanged.
    """
    indices = [i for i, card in enumerate(cards) if card.photo]
    questions = [Question(photos[i][0], cards[i].key) for i in indices]
    explained = list(cards)
    try:
        for i, explanation in zip(indices, explanations(bundle, questions), strict=True):
            explained[i] = cards[i]._replace(
                second=data_uri(overlay(explanation.photo, explanation.heat), THUMBNAIL_PX)
            )
    except (MissingExtraError, ConfigError) as error:
        logger.info("the report has no heat maps: %s", error)
    return explained


def with_similar(labelled: LabelledPhotos, cards: Sequence[Card]) -> list[Card]:
    """Add the labelled photos of the catalog that are most similar to each card's photo."""
    return [_with_similar(labelled, card) for card in cards]


def _with_similar(labelled: LabelledPhotos, card: Card) -> Card:
    nearest = labelled.nearest_of(card.id, 0, card.key, SIMILAR)
    similar = tuple(Similar(thumbnail(other.path, SIMILAR_PX), other.id, other.stated) for other in nearest)
    return card._replace(similar=similar, opinion=opinion(nearest))


def _one_per_group(evidence: Evidence, picks: Iterable[Pick], shown: int) -> list[Pick]:
    pick_of_group: dict[str, Pick] = {}
    for pick in picks:
        if len(pick_of_group) == shown:
            break
        pick_of_group.setdefault(evidence.groups[pick.row], pick)
    return list(pick_of_group.values())


def _join(words: tuple[str, ...], marks: NDArray[np.bool_]) -> str:
    return ", ".join(word for word, marked in zip(words, marks, strict=True) if marked)
