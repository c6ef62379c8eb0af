"""Products worth looking at: the most confident mistakes, and a sample of what was left open."""

from __future__ import annotations

import io
import logging
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attire.bundle import ModelBundle
from attire.errors import ConfigError, MissingExtraError, PhotoError
from attire.evaluation.evidence import Evidence
from attire.explanation.explain import Question, explanations
from attire.explanation.picture import overlay
from attire.photos.image import open_photo
from attire.prediction import Alternative
from attire.score.decisions import ALTERNATIVES

logger = logging.getLogger(__name__)
SHOWN = 24
THUMBNAIL_PX = 144  # the longer side
QUALITY = 72  # of JPEG
FAINTEST = 0.01  # a less probable alternative is not worth a line
CATEGORY = "category"


class Pick(NamedTuple):
    """A product (row of the evidence) and one of its keys; None for its category."""

    row: int
    key: str | None


class Card(NamedTuple):
    """A pick in words. `photo` is a data URI, "" where the product has no readable photo; `second` another picture of
    the same product beside it."""

    id: str
    key: str
    stated: str
    answer: str
    right: bool
    open: bool  # the answer was not sure enough to be filled
    confidence: float
    alternatives: tuple[Alternative, ...]
    photo: str
    second: str = ""


def confident_mistakes(evidence: Evidence, shown: int = SHOWN) -> list[Pick]:
    """Answered pairs with a wrong value, the surest first; one per group, for its products may share a photo."""
    m = evidence.matches
    rows, keys = np.nonzero(m.known & m.predicted & ~m.right)
    order = np.argsort(-m.confidence[rows, keys], kind="stable")
    names = list(evidence.taxonomy.keys)
    return _one_per_group(evidence, (Pick(int(rows[i]), names[keys[i]]) for i in order), shown)


def confident_category_mistakes(evidence: Evidence, shown: int = SHOWN) -> list[Pick]:
    """Products whose category is wrong, the surest first; one per group."""
    true, said = evidence.truth.category, evidence.decisions.category
    rows = np.flatnonzero((true >= 0) & (said >= 0) & (true != said))
    order = np.argsort(-evidence.decisions.category_probability[rows].max(axis=1, initial=0), kind="stable")
    return _one_per_group(evidence, (Pick(int(rows[i]), None) for i in order), shown)


def left_open(evidence: Evidence, shown: int = SHOWN) -> list[Pick]:
    """A sample, the same each time, of pairs whose key applies and whose value is known but was not filled."""
    if evidence.accepted is None:
        return []
    rows, keys = np.nonzero(evidence.matches.known & evidence.decisions.applies & ~evidence.accepted)
    names = list(evidence.taxonomy.keys)
    order = np.random.default_rng(0).permutation(len(rows))
    return _one_per_group(evidence, (Pick(int(rows[i]), names[keys[i]]) for i in order), shown)


def card(evidence: Evidence, pick: Pick, photos: Sequence[Path]) -> Card:
    """What was said of the pick, and the first of the product's `photos`."""
    taxonomy, (row, key), open = evidence.taxonomy, pick, False
    if key is None:
        words, probability = taxonomy.categories, evidence.decisions.category_probability[row]
        stated, chosen = (
            np.arange(len(words)) == c[row] for c in (evidence.truth.category, evidence.decisions.category)
        )
        right = bool((stated & chosen).any())
    else:
        words, columns = taxonomy.keys[key].values, taxonomy.columns[key]
        probability = evidence.decisions.probability[row, columns]
        stated, chosen = evidence.truth.hot[row, columns].astype(bool), evidence.decisions.chosen[row, columns]
        place = list(taxonomy.keys).index(key)
        right = bool(evidence.matches.right[row, place])
        open = evidence.accepted is not None and not evidence.accepted[row, place]
    others = [i for i in np.argsort(-probability, kind="stable") if not chosen[i] and probability[i] >= FAINTEST]
    return Card(
        id=evidence.ids[row],
        key=key or CATEGORY,
        stated=_joined(words, stated),
        answer=_joined(words, chosen),
        right=right,
        open=open,
        confidence=float(probability[chosen].prod()),
        alternatives=tuple(Alternative(words[i], float(probability[i])) for i in others[:ALTERNATIVES]),
        photo=thumbnail(photos[0]) if photos else "",
    )


def with_heat_maps(bundle: ModelBundle, cards: Sequence[Card], photos: Sequence[Sequence[Path]]) -> list[Card]:
    """The cards, beside each photo what in it spoke for the answer; as they are where no place can be pointed at.

    `photos` are those of each card's product. Needs the extra `explain`; without it the log says what is missing.
    """
    asked = [i for i, card in enumerate(cards) if card.photo]
    questions = [Question(photos[i][0], None if cards[i].key == CATEGORY else cards[i].key) for i in asked]
    found = list(cards)
    try:
        for i, explanation in zip(asked, explanations(bundle, questions), strict=True):
            found[i] = cards[i]._replace(second=_encoded(overlay(explanation.photo, explanation.heat)))
    except (MissingExtraError, ConfigError) as error:
        logger.info("the report's mistakes have no heat maps: %s", error)
    return found


def thumbnail(photo: Path) -> str:
    """A small JPEG as a data URI; "" where the photo cannot be opened any more."""
    try:
        return _encoded(open_photo(photo, target_px=(THUMBNAIL_PX, THUMBNAIL_PX)))
    except PhotoError:
        return ""


def _encoded(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode()}"


def _one_per_group(evidence: Evidence, picks: Iterable[Pick], shown: int) -> list[Pick]:
    found: dict[str, Pick] = {}
    for pick in picks:
        if len(found) == shown:
            break
        found.setdefault(evidence.groups[pick.row], pick)
    return list(found.values())


def _joined(words: tuple[str, ...], marks: NDArray[np.bool_]) -> str:
    return ", ".join(word for word, marked in zip(words, marks, strict=True) if marked)
