"""Words of a taxonomy that people should look at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attire.catalog.drafting_warnings import Usage, drafting_warnings, kinds, near_duplicates, summary, usage_of
from attire.catalog.row_words import CheckedProduct
from attire.spellings import fold, unfit
from attire.taxonomy import Key, Taxonomy

WORDS = Taxonomy(
    categories=("Shirts", "Hats"),
    keys={
        "colour": Key(categories=("Shirts",), values=("red", "Other", "teal", "grey")),
        "tags": Key(arity="many", categories=("Shirts",), values=("logo", "zip")),
        "fit": Key(categories=("Shirts",), values=("slim",)),
    },
)


def product(number: int, **labels: tuple[str, ...]) -> CheckedProduct:
    return CheckedProduct(number, f"p{number}", "", "Shirts", labels, (), "")


def lines(usage: Usage | None) -> list[tuple[str, str]]:
    return [(warning.kind, str(warning)) for warning in drafting_warnings(WORDS, usage)]


def test_without_a_catalog_only_the_words_are_judged() -> None:
    assert lines(None) == [("placeholder", "colour 'Other'")]


def test_a_catalog_says_which_words_are_rare_and_which_arities_doubtful() -> None:
    products = [product(number, colour=("red",), tags=("logo",)) for number in range(30)]
    products += [product(30, colour=("grey",)), product(31, tags=("logo", "zip"))]
    assert lines(usage_of(products)) == [
        ("placeholder", "colour 'Other'"),
        ("no label", "category 'Hats'"),
        ("no label", "colour 'Other'"),
        ("no label", "colour 'teal'"),
        ("no label", "fit"),
        ("one product", "colour 'grey'"),
        ("one product", "tags 'zip'"),
        ("arity", "tags (1 of 31 products have several: 'p31')"),
    ]


@pytest.mark.parametrize(
    ("several", "others", "is_doubtful"), [(1, 9, True), (1, 8, False), (4, 396, True), (4, 395, False)]
)
def test_arity_many_is_doubtful_if_it_rests_on_few_products(several: int, others: int, is_doubtful: bool) -> None:
    products = [product(number, tags=("logo", "zip")) for number in range(several)]
    products += [product(several + number, tags=("logo",)) for number in range(others)]
    kinds = {warning.kind for warning in drafting_warnings(WORDS, usage_of(products))}
    assert ("arity" in kinds) == is_doubtful


@pytest.mark.parametrize(
    "pair",
    [
        ("polyester", "polyster"), ("button", "buitton"), ("stones", "stone"), ("front slit", "frontslit"),
        ("Neck Round", "round neck"), ("gray melange", "Grey Melange"), ("stretchable rubber", "strechable rubber"),
        ("synthetic", "synthetik"), ("sole", "soel"),
    ],
)  # fmt: skip
def test_words_that_a_mistake_may_explain_are_near_duplicates(pair: tuple[str, str]) -> None:
    assert near_duplicates(["velvet", *pair]) == [pair]


@pytest.mark.parametrize(
    "pair",
    [
        ("shirt", "short"), ("shirt", "skirt"), ("kurta", "kurti"), ("legging", "jegging"),
        ("off shoulder", "one shoulder"),
        ("Size 38", "Size 39"), ("3/4", "1/4"), ("Tshirts", "Shirts"), ("red", "rd"), ("Men", "Women"),
        ("100ml", "1000ml"),
    ],
)  # fmt: skip
def test_words_that_differ_on_purpose_are_not(pair: tuple[str, str]) -> None:
    assert near_duplicates(pair) == []


@given(st.lists(st.text(max_size=12), unique=True, max_size=20))
def test_any_words_can_be_compared(words: list[str]) -> None:
    found = near_duplicates(words)
    assert all(words.index(left) < words.index(right) for left, right in found)
    assert {frozenset(pair) for pair in near_duplicates(words[::-1])} == {frozenset(pair) for pair in found}


def test_the_summary_has_a_line_per_kind_with_examples() -> None:
    values = tuple(f"value {letter}" for letter in "abcdef")
    taxonomy = Taxonomy(categories=("A",), keys={"k": Key(categories=("A",), values=values)})
    used = Usage({("", "A"): 9, **{("k", value): 1 for value in values}}, {"k": 6})
    assert summary(drafting_warnings(taxonomy, used)) == [
        "words of a single product: 6, such as k 'value a', k 'value b', k 'value c', k 'value d'"
    ]


def test_words_that_end_with_another_one_may_be_kinds_of_it() -> None:
    words = ("Blue", "Navy Blue", "light navy-blue", "Blue Steel", "Bluegrey", "Red", "Collar", "No Collar", "Digital")
    found = [("Navy Blue", "Blue"), ("light navy-blue", "Navy Blue")]
    assert kinds((*words, "Analogue and Digital", "Non-Digital")) == found
    parents = {"Navy Blue": "Blue"}
    taxonomy = Taxonomy(categories=("Blue", "Sky Blue"), keys={"k": Key(categories=(), values=words, parents=parents)})
    warnings = [str(warning) for warning in drafting_warnings(taxonomy) if warning.kind == "kinds"]
    assert warnings == ["k 'light navy-blue' and 'Navy Blue'"], "neither categories, nor what has a parent already"


@given(st.lists(st.text("ab -", min_size=1, max_size=8), max_size=12))
def test_possible_parents_are_valid_ones(words: list[str]) -> None:
    values = list({fold(word): word for word in words if not unfit(word)}.values())
    found = kinds(values)
    if values:
        Taxonomy(categories=("A",), keys={"k": Key(categories=("A",), values=tuple(values), parents=dict(found))})
    assert len(found) == len(dict(found))
