"""Why a bundle answers as it does: the answer in words, and where in the photo it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from attire.bundle import ModelBundle
from attire.errors import ConfigError, PhotoError
from attire.explanation.heatmaps import heat_maps
from attire.explanation.picture import picture
from attire.photos.image import open_photo
from attire.pixels.preprocess import Preprocess
from attire.prediction import Alternative
from attire.score.decisions import Decisions

BATCH = 16  # photos
ALTERNATIVES = 3  # that the picture mentions

Photo = Path | bytes | Image.Image


@dataclass(frozen=True, slots=True)
class Question:
    """What spoke for this in the photo? `key` None: for the category; `value` None: for the likeliest one."""

    photo: str | Photo
    key: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What spoke for `value`, and how sure the bundle is of it.

    photo: upright RGB; heat: float32[h, w] of the same size, in [0, 1], 1 where most spoke for the value within the
    photo, 0 everywhere where nothing did. ranked: all values of the key (or categories), the likeliest first. applies:
    whether the key applies to `category`, the predicted one.
    """

    photo: Image.Image
    heat: NDArray[np.float32]
    key: str | None
    value: str
    ranked: tuple[Alternative, ...]
    category: str
    applies: bool

    @property
    def confidence(self) -> float:
        """In [0, 1]: the probability of `value`; of a key that does not apply, as if it did."""
        return next(one.confidence for one in self.ranked if one.value == self.value)

    @property
    def title(self) -> str:
        """Key, value and confidence."""
        return f"{self.key or 'category'} {self.value} {self.confidence:.0%}"

    @property
    def others(self) -> str:
        """The likeliest other values with their confidence."""
        others = [one for one in self.ranked if one.value != self.value][:ALTERNATIVES]
        return ", ".join(f"{one.value} {one.confidence:.0%}" for one in others)

    @property
    def warning(self) -> str:
        """What a reader must know before believing the picture; mostly nothing."""
        if not self.applies:
            return f"{self.key} does not apply to {self.category}, the predicted category"
        return "" if self.heat.any() else f"nothing in the photo spoke for {self.value}"

    def picture(self) -> Image.Image:
        """The photo beside itself under the heat map, with key, value, confidence and alternatives."""
        return picture(self.photo, self.heat, self.title, self.others, self.warning)


def explain(
    bundle: ModelBundle | str | Path, photo: str | Photo, key: str | None = None, value: str | None = None
) -> Explanation:
    """What in the photo spoke for the bundle's answer to `key` (None: for the category), or for another `value`.

    Raises `TaxonomyError` for a key or value that is not in the taxonomy, `ConfigError` for a key of which the bundle
    learned nothing, `PhotoError` for a photo that cannot be read, and what `heat_maps` raises.
    """
    (found,) = explanations(bundle, [Question(photo, key, value)])
    return found


def explanations(
    bundle: ModelBundle | str | Path, questions: Iterable[Question], batch_size: int = BATCH
) -> Iterator[Explanation]:
    """An `Explanation` of each question, in order, a batch of photos at a time; raises as `explain` does."""
    bundle = ModelBundle.of(bundle)
    waiting = iter(questions)
    while batch := list(islice(waiting, batch_size)):
        yield from _explained(bundle, batch)


def _explained(bundle: ModelBundle, batch: Sequence[Question]) -> Iterator[Explanation]:
    chosen = [_chosen(bundle, question) for question in batch]
    photos, pixels = zip(*(_opened(bundle.preprocess, question.photo) for question in batch), strict=True)
    inputs = torch.from_numpy(np.stack(pixels)).to(next(bundle.network.parameters()).device)
    with torch.no_grad():
        logits = bundle.network(inputs)
    decisions = bundle.decide(*(part.float().cpu().numpy() for part in logits))
    answers = [_answer(bundle, decisions, row, *question) for row, question in enumerate(chosen)]
    heat = _heat(bundle, inputs, answers)
    for row, (photo, answer, (key, _)) in enumerate(zip(photos, answers, chosen, strict=True)):
        yield Explanation(
            photo=photo,
            heat=_in_photo(bundle.preprocess, heat[row], photo.size),
            key=key,
            value=answer.value,
            ranked=answer.ranked,
            category=bundle.taxonomy.categories[decisions.category[row]],
            applies=key is None or bool(decisions.applies[row, list(bundle.taxonomy.keys).index(key)]),
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """`value` of the key, its column among the logits, and the columns of its rivals where a softmax decides."""

    category: bool  # the logits of the category, or of the attributes
    value: str
    ranked: tuple[Alternative, ...]
    column: int
    rivals: tuple[int, ...]


def _chosen(bundle: ModelBundle, question: Question) -> tuple[str | None, str | None]:
    """Key and value in the taxonomy's words."""
    taxonomy, key, value = bundle.taxonomy, question.key, question.value
    if key is None:
        return None, None if value is None else taxonomy.category(value)
    taxonomy.key(key)
    if key in bundle.spec.untaught:
        raise ConfigError(f"{bundle.path} learned nothing of {key}: no product that it learned from states it.")
    return key, None if value is None else taxonomy.value(key, value)


def _answer(bundle: ModelBundle, decisions: Decisions, row: int, key: str | None, value: str | None) -> _Answer:
    taxonomy = bundle.taxonomy
    if key is None:
        words, start, probability = taxonomy.categories, 0, decisions.category_probability[row]
        softmax = True
    else:
        words, start = taxonomy.keys[key].values, taxonomy.columns[key].start
        probability = decisions.probability[row, taxonomy.columns[key]]
        softmax = bundle.decision.rule == "typed" and taxonomy.keys[key].arity == "one"
    order = np.argsort(-probability, kind="stable").tolist()
    place = order[0] if value is None else words.index(value)
    rivals = tuple(start + other for other in range(len(words)) if other != place) if softmax else ()
    ranked = tuple(Alternative(words[i], float(probability[i])) for i in order)
    return _Answer(key is None, words[place], ranked, start + place, rivals)


def _heat(bundle: ModelBundle, inputs: Tensor, answers: Sequence[_Answer]) -> NDArray[np.float32]:
    """float32[B, H, W] over the network's input."""
    heat = torch.zeros((len(inputs), *inputs.shape[2:]))
    for category in (True, False):
        rows = [row for row, answer in enumerate(answers) if answer.category == category]
        if rows:
            columns, rivals = [answers[row].column for row in rows], [answers[row].rivals for row in rows]
            heat[rows] = heat_maps(bundle.network, inputs[rows], columns, rivals, category=category).cpu()
    return heat.numpy()


def _opened(preprocess: Preprocess, photo: str | Photo) -> tuple[Image.Image, NDArray[np.float32]]:
    """The whole photo, and the network's pixels decoded as prediction decodes them, so that the answers are equal."""
    if isinstance(photo, Image.Image):
        return photo.convert("RGB"), preprocess(photo.convert("RGB"))
    source = Path(photo) if isinstance(photo, str) else photo
    try:
        return open_photo(source), preprocess(open_photo(source, target_px=preprocess.size_px))
    except PhotoError as error:
        raise PhotoError(f"{source}: {error}" if isinstance(source, Path) else str(error)) from None


def _in_photo(preprocess: Preprocess, heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Heat over the network's input float32[H, W] as heat over a photo of that size (width, height), up to 1."""
    left, top, right, bottom = preprocess.window(*size)
    seen = Image.fromarray(heat).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    whole = Image.new("F", size)
    whole.paste(seen, (left, top))
    found = np.asarray(whole, dtype=np.float32)
    return np.asarray(found / max(float(found.max()), float(np.finfo(np.float32).tiny)))
