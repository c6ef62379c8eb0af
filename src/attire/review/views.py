"""What the page shows of a product: each field with its value, where that comes from, and what else it may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from attire.catalog.store import Catalog, Product
from attire.labels import contradicts
from attire.prediction import Abstained, Answer
from attire.review.data import CATEGORY, SURE_CATEGORY, ReviewData, ordered, takes_many, values_of
from attire.review.store.events import Held

DIGITS = 9  # options that a single key press can choose
TITLES = {
    "decided": "decided",
    "sure": "filled",
    "suspect": "feed differs",
    "abstained": "left open",
    "stated": "from the feed",
    "empty": "nothing known",
}


@dataclass(frozen=True, slots=True)
class Option:
    """A value to choose; `confidence` None where the model gave it none that is shown."""

    value: str
    title: str
    confidence: float | None
    stated: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field. `status` is a key of `TITLES`; `proposal` what Enter accepts; `shown` what holds or is proposed.

    wanted: whether the queue is about it; sampled: whether it is of the random sample, whose measure would be worth
    nothing if it were accepted unseen; doubtful: whether "accept all" leaves it to a look of its own.
    """

    product: str
    key: str
    title: str
    many: bool
    status: str
    shown: tuple[str, ...]
    proposal: tuple[str, ...]
    confidence: float | None
    stated: tuple[str, ...]
    options: tuple[Option, ...]
    held: Held | None
    version: int
    wanted: bool
    sampled: bool

    @property
    def decided(self) -> bool:
        return self.status == "decided"

    @property
    def doubtful(self) -> bool:
        return self.sampled or self.status in ("suspect", "abstained", "empty")

    @property
    def status_title(self) -> str:
        return TITLES[self.status]


@dataclass(frozen=True, slots=True)
class ProductView:
    """One product; `looking` is another reviewer who has it open."""

    product: Product
    category: str
    fields: tuple[FieldView, ...]
    looking: str

    @property
    def left(self) -> int:
        """Fields of the queue that are not decided."""
        return sum(field.wanted and not field.decided for field in self.fields)


def product_view(
    data: ReviewData,
    id: str,
    held: Mapping[tuple[str, str], Held],
    *,
    wanted: Collection[str] = (),
    sampled: Collection[tuple[str, str]] = (),
    looking: str = "",
) -> ProductView:
    """The product with its category, and every key that applies to it or is in the queue. Raises `CatalogError`."""
    catalog = data.catalog
    product, said = catalog[id], data.said(id)

    def view(key: str) -> FieldView:
        return field_view(
            catalog, product, key, said.get(key), held.get((id, key)), key in wanted, (id, key) in sampled
        )

    first = view(CATEGORY)
    category = first.shown[0] if first.shown else ""
    fields = [first] + [
        view(key)
        for key, words in catalog.taxonomy.keys.items()
        if category in words.categories or (key in wanted and not first.decided)
    ]
    return ProductView(product, category, tuple(fields), looking)


def field_view(
    catalog: Catalog,
    product: Product,
    key: str,
    said: Answer | Abstained | None,
    held: Held | None,
    wanted: bool,
    sampled: bool,
) -> FieldView:
    """One field, of what was predicted, stated and decided."""
    stated = _stated(catalog, product, key)
    answer = said.values if isinstance(said, Answer) else ()
    many = takes_many(catalog, key)
    alternatives = said.alternatives if said is not None else ()
    doubted = key == CATEGORY and isinstance(said, Answer) and said.confidence < SURE_CATEGORY
    if answer and not (doubted and stated):
        if contradicts(answer, stated):
            # An answer says nothing against the stated values that it leaves out: only a person takes them away.
            status, proposal = "suspect", ordered(catalog, key, {*stated, *answer}) if many else answer
        else:
            status, proposal = ("stated", stated) if len(stated) > len(answer) else ("sure", answer)
    elif stated:
        status, proposal = "stated", stated
    else:
        status = "abstained" if said is not None else "empty"
        proposal = tuple(one.value for one in alternatives[:1])
    decided = held is not None and held.decided
    shown = held.values if held is not None and decided else () if status == "abstained" else proposal
    confidences = {one.value: one.confidence for one in alternatives}
    if isinstance(said, Answer) and len(answer) == 1:
        confidences[answer[0]] = said.confidence
    sure = (
        said.confidence
        if isinstance(said, Answer) and set(answer) <= set(proposal)
        else confidences.get("".join(proposal[:1]))
    )
    return FieldView(
        product=product.id,
        key=key,
        title=title_of(catalog, key),
        many=many,
        status="decided" if decided else status,
        shown=shown,
        proposal=proposal,
        confidence=sure,
        stated=stated,
        options=_options(catalog, key, (*proposal, *answer, *stated, *confidences), shown, confidences, stated),
        held=held if decided else None,
        version=held.version if held is not None else 0,
        wanted=wanted,
        sampled=sampled,
    )


def title_of(catalog: Catalog, key: str) -> str:
    """A key as people say it."""
    return "category" if key == CATEGORY else catalog.taxonomy.keys[key].title or key.replace("_", " ")


def value_title(catalog: Catalog, key: str, value: str) -> str:
    """A value as people say it."""
    return value if key == CATEGORY else catalog.taxonomy.keys[key].titles.get(value, value)


def _stated(catalog: Catalog, product: Product, key: str) -> tuple[str, ...]:
    if key == CATEGORY:
        return (product.category,) if product.category else ()
    return tuple(sorted(product.labels.get(key, ()), key=catalog.taxonomy.keys[key].values.index))


def _options(
    catalog: Catalog,
    key: str,
    likely: tuple[str, ...],
    shown: tuple[str, ...],
    confidences: Mapping[str, float],
    stated: tuple[str, ...],
) -> tuple[Option, ...]:
    """The likely values; then, where all have a digit, the key's others, so that every value is one key press away."""
    values = list(dict.fromkeys((*likely, *shown)))
    every = values_of(catalog, key)
    if len(every) <= DIGITS:
        values += [value for value in every if value not in values]
    return tuple(
        Option(value, value_title(catalog, key, value), confidences.get(value), value in stated, value in shown)
        for value in values[:DIGITS]
    )
