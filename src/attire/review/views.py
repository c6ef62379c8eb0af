"""View models of the page: a product's fields with value, source and options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from attire.catalog.store import Catalog, Product
from attire.labels import contradicts
from attire.parents import with_ancestors
from attire.prediction import Abstained, Answer
from attire.review.data import ReviewData, ordered, takes_many, values_of
from attire.review.store.events import Decision
from attire.taxonomy import CATEGORY

DIGITS = 9  # options that can be chosen by a digit key
TITLES = {
    "decided": "decided",
    "sure": "filled",
    "suspect": "feed differs",
    "abstained": "left open",
    "stated": "from the feed",
    "foreign": "does not apply?",
    "empty": "unknown",
}


@dataclass(frozen=True, slots=True)
class Option:
    """A value to choose; `confidence` is None if the predictions have none for it."""

    value: str
    title: str
    confidence: float | None
    stated: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field as the page shows it.

    Attributes
    ----------
    status
        A key of `TITLES`.
    shown
        The decided values, else the proposed ones; empty for a field left open.
    proposal
        The values that Enter accepts.
    wanted
        Whether the field is in the queue.
    sampled
        Whether the field is in the random sample, which must be judged field by field to be a valid measurement.
    suspected
        Whether its label is probably wrong, by an audit or a sure answer.
    doubtful
        Whether "accept all" skips the field.
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
    decision: Decision | None
    version: int
    wanted: bool
    sampled: bool
    suspected: bool

    @property
    def decided(self) -> bool:
        return self.status == "decided"

    @property
    def doubtful(self) -> bool:
        return self.sampled or self.suspected or self.status in ("suspect", "abstained", "empty")

    @property
    def status_title(self) -> str:
        return TITLES[self.status]


@dataclass(frozen=True, slots=True)
class ProductView:
    """A product as the page shows it; `other_viewer` is another reviewer who has it open, or ""."""

    product: Product
    category: str
    fields: tuple[FieldView, ...]
    other_viewer: str

    @property
    def left(self) -> int:
        """The number of undecided fields in the queue."""
        return sum(field.wanted and not field.decided for field in self.fields)


def product_view(
    data: ReviewData,
    id: str,
    decisions: Mapping[tuple[str, str], Decision],
    *,
    wanted: Collection[str] = (),
    sampled: Collection[tuple[str, str]] = (),
    suspected: Collection[tuple[str, str]] = (),
    other_viewer: str = "",
) -> ProductView:
    """Return a product with its category and every key that applies or is in the queue; raises `CatalogError`."""
    catalog = data.catalog
    product, answers = catalog[id], data.answers(id)

    def view(key: str) -> FieldView:
        field = (id, key)
        return field_view(
            catalog,
            product,
            key,
            answers.get(key),
            decisions.get(field),
            wanted=key in wanted,
            sampled=field in sampled,
            suspected=field in suspected,
        )

    category_field = view(CATEGORY)
    category = category_field.shown[0] if category_field.shown else ""
    fields = [category_field] + [
        view(name)
        for name, key in catalog.taxonomy.keys.items()
        if category in key.categories or (name in wanted and not category_field.decided)
    ]
    return ProductView(product, category, tuple(fields), other_viewer)


def field_view(
    catalog: Catalog,
    product: Product,
    key: str,
    answer: Answer | Abstained | None,
    decision: Decision | None,
    *,
    wanted: bool,
    sampled: bool,
    suspected: bool,
) -> FieldView:
    """Combine the answer, the feed's label and the decision of one field."""
    stated = _stated(catalog, product, key)
    answered = answer.values if isinstance(answer, Answer) else ()
    many = takes_many(catalog, key)
    alternatives = answer.alternatives if answer is not None else ()
    if answered:
        parents = catalog.taxonomy.parents(key)
        if contradicts(answered, stated, parents):
            # An answer does not contradict stated values that it leaves out, so the proposal keeps them. What the
            # stated values are kinds of adds nothing to them.
            others = {value for value in answered if value not in with_ancestors(stated, parents)}
            status, proposal = "suspect", ordered(catalog, key, {*stated, *others}) if many else answered
        else:
            status, proposal = ("stated", stated) if stated and {*stated} != {*answered} else ("sure", answered)
    elif stated:
        status, proposal = "foreign" if suspected and answer is None else "stated", stated
    else:
        status = "abstained" if answer is not None else "empty"
        proposal = tuple(alternative.value for alternative in alternatives[:1])
    decided = decision is not None and decision.decided
    shown = decision.values if decision is not None and decided else () if status == "abstained" else proposal
    confidences = {alternative.value: alternative.confidence for alternative in alternatives}
    if isinstance(answer, Answer) and len(answered) == 1:
        confidences[answered[0]] = answer.confidence
    confidence = (
        answer.confidence
        if isinstance(answer, Answer) and set(answered) <= set(proposal)
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
        confidence=confidence,
        stated=stated,
        options=_options(catalog, key, (*proposal, *answered, *stated, *confidences), shown, confidences, stated),
        decision=decision if decided else None,
        version=decision.version if decision is not None else 0,
        wanted=wanted,
        sampled=sampled,
        suspected=suspected,
    )


def title_of(catalog: Catalog, key: str) -> str:
    """Return the display title of a key."""
    return "category" if key == CATEGORY else catalog.taxonomy.keys[key].title or key.replace("_", " ")


def value_title(catalog: Catalog, key: str, value: str) -> str:
    """Return the display title of a value."""
    return value if key == CATEGORY else catalog.taxonomy.keys[key].own_titles.get(value, value)


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
    """Return the likely values, followed by the key's other values if all of them fit on the digit keys."""
    values = list(dict.fromkeys((*likely, *shown)))
    all_values = values_of(catalog, key)
    if len(all_values) <= DIGITS:
        values += [value for value in all_values if value not in values]
    return tuple(
        Option(value, value_title(catalog, key, value), confidences.get(value), value in stated, value in shown)
        for value in values[:DIGITS]
    )
