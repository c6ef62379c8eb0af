"""Explain a bundle's answer: its confidence, a heat map of what supports it, and what similar photos state."""

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
from attire.catalog.store import Catalog
from attire.errors import ConfigError, PhotoError
from attire.explanation.heatmaps import heat_maps
from attire.explanation.picture import picture
from attire.neighbours.labelled_photos import LabelledPhotos, Neighbour, opinion, sha256_of
from attire.photos.image import open_photo
from attire.pixels.preprocess import Preprocess
from attire.prediction import Alternative
from attire.score.decisions import Decisions
from attire.taxonomy import CATEGORY, key_label

BATCH = 16  # photos
ALTERNATIVES = 3  # shown in the picture

Photo = Path | bytes | Image.Image


@dataclass(frozen=True, slots=True)
class Question:
    """What to explain: `value` of `key`. `key` may be `CATEGORY`; `value` None means the likeliest value."""

    photo: str | Photo
    key: str = CATEGORY
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The evidence for `value` in a photo, and its probability.

    photo: upright RGB. heat: float32[h, w] of the same size, in [0, 1]; 1 where the evidence is strongest, all 0 if
    there is none. ranked: all values of the key (or categories), the likeliest first. category: the predicted one.
    applies: whether the key applies to `category`. seen: the most similar labelled photos of a catalog, if one was
    given.
    """

    photo: Image.Image
    heat: NDArray[np.float32]
    key: str
    value: str
    ranked: tuple[Alternative, ...]
    category: str
    applies: bool
    seen: tuple[Neighbour, ...] = ()

    @property
    def confidence(self) -> float:
        """Probability of `value`, in [0, 1], assuming that the key applies."""
        return next(candidate.confidence for candidate in self.ranked if candidate.value == self.value)

    @property
    def title(self) -> str:
        """Key, value and confidence as text."""
        return f"{key_label(self.key)} {self.value} {self.confidence:.0%}"

    @property
    def others(self) -> str:
        """The likeliest other values with their confidence, as text."""
        others = [candidate for candidate in self.ranked if candidate.value != self.value][:ALTERNATIVES]
        return ", ".join(f"{other.value} {other.confidence:.0%}" for other in others)

    @property
    def warning(self) -> str:
        """Why the picture needs care: the key does not apply, or the heat map is empty. Usually an empty string."""
        if not self.applies:
            return f"{self.key} does not apply to {self.category}, the predicted category"
        return "" if self.heat.any() else f"nothing in the photo supports {self.value}"

    @property
    def opinion(self) -> str:
        """What most of the similar photos state, as a sentence; "" without any."""
        return opinion(self.seen)

    def picture(self) -> Image.Image:
        """Draw the photo next to the photo under its heat map, with key, value, confidence and alternatives.

        Below are the similar photos, each with what it states.
        """
        lines = (self.title, self.others, self.warning, self.opinion)
        return picture(self.photo, self.heat, lines, [(seen.path, seen.stated) for seen in self.seen])


def explain(
    bundle: ModelBundle | str | Path,
    photo: str | Photo,
    key: str = CATEGORY,
    value: str | None = None,
    catalog: Catalog | str | Path | None = None,
) -> Explanation:
    """Explain the bundle's answer for `key` (by default the category), or another `value`, in one photo.

    With a `catalog`, the explanation has its labelled photos that are most similar. Those that the bundle has not
    looked at yet are embedded first, which takes minutes for thousands.

    Raises `TaxonomyError` for a key or value that is not in the taxonomy, `ConfigError` for a key without labels in
    training, `PhotoError` for a photo that cannot be read, and the errors of `heat_maps` and `LabelledPhotos`.
    """
    (explanation,) = explanations(bundle, [Question(photo, key, value)], catalog)
    return explanation


def explanations(
    bundle: ModelBundle | str | Path,
    questions: Iterable[Question],
    catalog: Catalog | str | Path | None = None,
    batch_size: int = BATCH,
) -> Iterator[Explanation]:
    """Yield an `Explanation` for each question, in order, in batches of photos; raises as `explain` does."""
    bundle = ModelBundle.of(bundle)
    labelled = None if catalog is None else LabelledPhotos(bundle, Catalog.of(catalog), compute=True)
    iterator = iter(questions)
    while batch := list(islice(iterator, batch_size)):
        yield from _explain_batch(bundle, batch, labelled)


def _explain_batch(
    bundle: ModelBundle, batch: Sequence[Question], labelled: LabelledPhotos | None
) -> Iterator[Explanation]:
    keys_and_values = [_check_words(bundle, question) for question in batch]
    photos, pixels = zip(*(_open(bundle.preprocess, question.photo) for question in batch), strict=True)
    inputs = torch.from_numpy(np.stack(pixels)).to(next(bundle.placed_network.parameters()).device)
    with torch.no_grad():
        logits = bundle.placed_network(inputs)
    decisions = bundle.decide(*(tensor.float().cpu().numpy() for tensor in logits))
    targets = [_target(bundle, decisions, row, *words) for row, words in enumerate(keys_and_values)]
    heat = _compute_heat(bundle, inputs, targets)
    seen = _seen(bundle, labelled, inputs, batch, [key for key, _ in keys_and_values])
    for row, (photo, target, (key, _)) in enumerate(zip(photos, targets, keys_and_values, strict=True)):
        yield Explanation(
            photo=photo,
            heat=_resize_to_photo(bundle.preprocess, heat[row], photo.size),
            key=key,
            value=target.value,
            ranked=target.ranked,
            category=bundle.taxonomy.categories[decisions.category[row]],
            applies=key == CATEGORY or bool(decisions.applies[row, list(bundle.taxonomy.keys).index(key)]),
            seen=seen[row],
        )


def _seen(
    bundle: ModelBundle,
    labelled: LabelledPhotos | None,
    inputs: Tensor,
    batch: Sequence[Question],
    keys: Sequence[str],
) -> list[tuple[Neighbour, ...]]:
    """The labelled photos that are most similar to each photo."""
    if labelled is None:
        return [()] * len(batch)
    with torch.no_grad():
        features = bundle.placed_network.features(inputs).float().cpu().numpy()
    digests = [_digest(question.photo) for question in batch]
    return [tuple(labelled.nearest(*question)) for question in zip(features, digests, keys, strict=True)]


def _digest(photo: str | Photo) -> str | None:
    """The SHA-256 of the photo's file; None for a photo in memory, which no catalog knows."""
    if isinstance(photo, Image.Image):
        return None
    return sha256_of(Path(photo) if isinstance(photo, str) else photo)


@dataclass(frozen=True, slots=True)
class _Target:
    """The value to explain, as a column of the logits."""

    category: bool  # True for the category logits, False for the attribute logits
    value: str
    ranked: tuple[Alternative, ...]
    column: int
    rivals: tuple[int, ...]  # columns that share a softmax with `column`; empty for a sigmoid


def _check_words(bundle: ModelBundle, question: Question) -> tuple[str, str | None]:
    """The question's key and value as the taxonomy spells them; raises as `explain` does."""
    taxonomy, key, value = bundle.taxonomy, question.key, question.value
    if key == CATEGORY:
        return key, None if value is None else taxonomy.category(value)
    taxonomy.key(key)
    if key in bundle.spec.untaught:
        raise ConfigError(f"{bundle.path} never answers {key}: no product that it was trained on has a label for it.")
    return key, None if value is None else taxonomy.value(key, value)


def _target(bundle: ModelBundle, decisions: Decisions, row: int, key: str, value: str | None) -> _Target:
    taxonomy = bundle.taxonomy
    if key == CATEGORY:
        words, start, probability = taxonomy.categories, 0, decisions.category_probability[row]
        softmax = True
    else:
        words, start = taxonomy.keys[key].values, taxonomy.columns[key].start
        probability = decisions.probability[row, taxonomy.columns[key]]
        softmax = bundle.decision.rule == "typed" and taxonomy.keys[key].arity == "one"
    order = np.argsort(-probability, kind="stable").tolist()
    index = order[0] if value is None else words.index(value)
    rivals = tuple(start + other for other in range(len(words)) if other != index) if softmax else ()
    ranked = tuple(Alternative(words[i], float(probability[i])) for i in order)
    return _Target(key == CATEGORY, words[index], ranked, start + index, rivals)


def _compute_heat(bundle: ModelBundle, inputs: Tensor, targets: Sequence[_Target]) -> NDArray[np.float32]:
    """Heat maps over the network's input, float32[B, H, W]."""
    heat = torch.zeros((len(inputs), *inputs.shape[2:]))
    for category in (True, False):
        rows = [row for row, target in enumerate(targets) if target.category == category]
        if rows:
            columns, rivals = [targets[row].column for row in rows], [targets[row].rivals for row in rows]
            heat[rows] = heat_maps(bundle.network, inputs[rows], columns, rivals, category=category).cpu()
    return heat.numpy()


def _open(preprocess: Preprocess, photo: str | Photo) -> tuple[Image.Image, NDArray[np.float32]]:
    """The photo in full size, and the network's input, decoded as for prediction so that the answers are equal."""
    if isinstance(photo, Image.Image):
        return photo.convert("RGB"), preprocess(photo.convert("RGB"))
    source = Path(photo) if isinstance(photo, str) else photo
    try:
        return open_photo(source), preprocess(open_photo(source, target_px=preprocess.size_px))
    except PhotoError as error:
        raise PhotoError(f"{source}: {error}" if isinstance(source, Path) else str(error)) from None


def _resize_to_photo(preprocess: Preprocess, heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize heat over the network's input, float32[H, W], to a photo of `size` (width, height); the maximum is 1."""
    left, top, right, bottom = preprocess.window(*size)
    window = Image.fromarray(heat).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    canvas = Image.new("F", size)
    canvas.paste(window, (left, top))
    resized = np.asarray(canvas, dtype=np.float32)
    return np.asarray(resized / max(float(resized.max()), float(np.finfo(np.float32).tiny)))
