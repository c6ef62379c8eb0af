"""Checking rows against a taxonomy: words resolved, products merged, every fault reported with its row."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from attire.catalog.check import Problem, check, check_known, stray_labels, summarise
from attire.catalog.feed_row import Row
from attire.catalog.taxonomy_draft import draft_taxonomy
from attire.taxonomy import Key, Taxonomy

SLEEVES = ("short", "three_quarter", "long")
WORDS = Taxonomy(
    categories=("Shirts", "Jeans"),
    category_aliases={"Shirting": "Shirts"},
    keys={
        "sleeve_length": Key(categories=("Shirts",), values=SLEEVES, aliases={"3/4": "three_quarter"}),
        "colour": Key(arity="many", categories=("Shirts", "Jeans"), values=("red", "blue")),
    },
)


def row(number: int = 2, id: str = "a", category: str = "Shirts", image: str = "a.jpg", **labels: str) -> Row:
    words_of = {key: tuple(words.split("|")) if words else () for key, words in labels.items()}
    return Row(number, id, category, words_of, (image,) if image else ())


def messages(*rows: Row) -> list[str]:
    return [str(problem) for problem in check(rows, WORDS).problems]


def test_words_are_resolved_to_those_of_the_taxonomy() -> None:
    (product,) = check([row(category="shirting", sleeve_length="3/4", colour="Red|BLUE|red")], WORDS).products
    assert product.category == "Shirts"
    assert product.labels == {"sleeve_length": ("three_quarter",), "colour": ("red", "blue")}


def test_empty_cells_are_unknown() -> None:
    (product,) = check([row(category="", sleeve_length="", colour="red")], WORDS).products
    assert (product.category, product.labels) == (None, {"colour": ("red",)})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            row(812, sleeve_length="three quater"),
            "row 812: sleeve_length='three quater' is not one of 3 values; did you mean 'three_quarter'? "
            "Add it or an alias in taxonomy.toml.",
        ),
        (row(category="Shrits"), "row 2: category='Shrits' is not one of 2 categories; did you mean 'Shirts'?"),
        (row(sleeve_length="short|long"), "row 2: sleeve_length takes one value, got 'short', 'long'."),
        (row(id=""), "row 2: the id is empty."),
        (row(image=""), "row 2: it names no photo."),
    ],
)
def test_a_bad_row_is_reported_and_left_out(bad: Row, message: str) -> None:
    checked = check([bad, row(900, id="good")], WORDS)
    assert [product.id for product in checked.products] == ["good"]
    (problem,) = checked.problems
    assert str(problem).startswith(message)


def test_closest_words_are_looked_up_once_per_word_and_with_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    def look_up(word: str, _: object) -> str:
        looked_up.append(word)
        return "."

    monkeypatch.setattr("attire.taxonomy.did_you_mean", look_up)
    rows = [row(n, id=str(n), sleeve_length=f"wrong {n % 10}", category="Shrits") for n in range(100)]
    assert len(check(rows, WORDS).problems) == 200
    assert looked_up == ["Shrits", *(f"wrong {n}" for n in range(10))]
    monkeypatch.setattr("attire.catalog.row_words.COMPARISONS", 3 * len(SLEEVES))
    looked_up.clear()
    assert len(check([row(n, id=str(n), sleeve_length=f"wrong {n}") for n in range(100)], WORDS).problems) == 100
    assert len(looked_up) == 3


def test_a_thousand_unknown_words_are_reported_quickly() -> None:
    values = tuple(f"value {n * 7919 % 100_003} of the list" for n in range(3_000))
    words = Taxonomy(categories=("Shirts",), keys={"k": Key(categories=("Shirts",), values=values)})
    rows = [Row(n, str(n), "Shirts", {"k": (f"valeu {n} off the list",)}, ("a.jpg",)) for n in range(1_000)]
    started = time.process_time()
    (first, *_) = check(rows, words).problems
    assert "did you mean 'value" in first.message
    assert time.process_time() - started < 6  # 150 s with Python's difflib


def test_a_message_quotes_the_start_of_a_long_word_on_one_line() -> None:
    (problem,) = check([row(sleeve_length="x\ny\u202e" + "z" * 10_000_000)], WORDS).problems
    assert problem.message.startswith(r"sleeve_length='x\ny\u202ezzz")
    assert "... (10,000,004 characters)' is not one of 3 values." in problem.message
    assert len(problem.message) < 300


def test_every_fault_of_every_row_is_reported() -> None:
    rows = row(2, category="Hats", sleeve_length="puff", colour="mauve|teal"), row(3, id="", image="")
    assert [message.split(":")[0] for message in messages(*rows)] == ["row 2"] * 4 + ["row 3"] * 2


def test_an_unknown_key_is_reported_once_and_no_row_is_lost() -> None:
    rows = [row(n, id=str(n), colors="red" if n > 2 else "", fabric="") for n in range(2, 6)]
    checked = check(rows, WORDS)
    assert [str(problem) for problem in checked.problems] == [
        "row 3: 'colors' is not one of 2 keys; did you mean 'colour'? Add it to taxonomy.toml, or --ignore it."
    ]
    assert len(checked.products) == 4


def test_later_rows_add_photos_and_missing_labels() -> None:
    later = row(3, category="Shirting", image="b.jpg", sleeve_length="short", colour="blue|red")
    (product,) = check([row(category="", colour="red|blue"), later], WORDS).products
    assert (product.row, product.category, product.images) == (2, "Shirts", ("a.jpg", "b.jpg"))
    assert product.labels == {"colour": ("red", "blue"), "sleeve_length": ("short",)}


def test_later_rows_may_not_contradict_earlier_ones() -> None:
    first = row(2, colour="red", sleeve_length="short")
    problems = messages(first, row(3, category="Jeans", image="b.jpg", colour="blue", sleeve_length="Short"))
    assert problems == [
        "row 3: id 'a' is already in row 2 with category='Shirts', here 'Jeans'. Fix one of the rows.",
        "row 3: id 'a' is already in row 2 with colour='red', here 'blue'. Fix one of the rows.",
    ]


@pytest.mark.parametrize(("name", "values"), [("title", ("Tee", "Top")), ("group", ("g1", "g2"))])
def test_contradicting_titles_and_groups_are_reported(name: str, values: tuple[str, str]) -> None:
    rows = [Row(n, "a", "", {}, (f"{n}.jpg",), **{name: value}) for n, value in enumerate(values, 2)]
    assert messages(*rows) == [
        f"row 3: id 'a' is already in row 2 with {name}='{values[0]}', here '{values[1]}'. Fix one of the rows."
    ]


def test_a_row_without_a_new_photo_is_a_duplicate() -> None:
    checked = check([row(2), row(3)], WORDS)
    assert str(checked.problems[0]).startswith("row 3: id 'a' is already in row 2 with the same photos.")
    assert [product.row for product in checked.products] == [2]
    assert messages(row(2), row(3, image="")) == ["row 3: it names no photo."]


def test_labels_that_the_category_rules_out_are_kept_and_counted() -> None:
    checked = check([row(category="Jeans", sleeve_length="long"), row(3, id="b", sleeve_length="long")], WORDS)
    assert stray_labels(checked.products, WORDS) == Counter(sleeve_length=1)
    assert checked.products[0].labels == {"sleeve_length": ("long",)}
    assert not checked.problems


def test_a_summary_lists_a_repeated_fault_once() -> None:
    problems = [Problem(n, "colour='mauve' is wrong.") for n in (9, 11, 12, 40, 41)]
    problems += [Problem(3, "twice."), Problem(4, "twice."), Problem(1, "once."), Problem(2, "last.")]
    assert summarise(problems, limit=3).splitlines() == [
        "  row 9: colour='mauve' is wrong. (and 4 more rows: 11, 12, 40, ...)",
        "  row 3: twice. (and 1 more row: 4)",
        "  row 1: once.",
        "  ... further faults not shown: 1",
    ]


def test_contradicting_rows_are_reported_when_checked_against_their_own_draft() -> None:
    rows = [row(2, colour="red"), row(3, category="Belts", image="b.jpg", colour="blue")]
    category, colour = [problem.message for problem in check(rows, draft_taxonomy(rows).taxonomy).problems]
    assert category == "id 'a' is already in row 2 with category='Shirts', here 'Belts'. Fix one of the rows."
    assert colour == "id 'a' is already in row 2 with colour='red', here 'blue'. Fix one of the rows."


CHANGED = Taxonomy(
    categories=("Shirts", "Jeans"),
    retired_categories=("Gifts",),
    retired_keys=("mood",),
    key_aliases={"color": "colour"},
    key_titles={"de": {"colour": "Farbe"}},
    keys={
        "sleeve_length": Key(categories=("Shirts",), values=("short", "long"), retired=("Unknown",)),
        "colour": Key(arity="many", categories=("Shirts",), values=("red", "blue"), retired=("Other",)),
    },
)


def test_a_retired_word_costs_its_label_and_not_the_row() -> None:
    rows = [
        row(2, id="a", sleeve_length="unknown", colour="red|OTHER", mood="calm"),
        row(3, id="b", category="gifts", image="b.jpg", colour="other"),
    ]
    for leave_out in (False, True):
        checked = check(rows, CHANGED, leave_out=leave_out)
        assert (checked.problems, checked.unknown) == ([], set())
        first, second = checked.products
        assert (first.category, first.labels) == ("Shirts", {"colour": ("red",)})
        assert first.retired == {"sleeve_length": ("unknown",), "colour": ("OTHER",), "mood": ("calm",)}
        assert (second.category, second.labels) == (None, {})
        assert second.retired == {"@category": ("gifts",), "colour": ("other",)}
        assert not first.unresolved


def test_columns_may_have_an_alias_or_title_of_their_key() -> None:
    checked = check([row(colour="red", color="blue", Farbe="red", sleeve_length="")], CHANGED)
    assert checked.problems == []
    assert checked.products[0].labels == {"colour": ("red", "blue")}


def test_nothing_of_a_catalogs_own_products_is_a_problem() -> None:
    rows = [
        row(1, image="", sleeve_length="short|long", price="9", colour="green|red"),
        row(2, id="b", category="Hats"),
    ]
    checked = check_known(rows, CHANGED)
    first, second = checked.products
    assert first.labels == {}
    assert first.unresolved == {"sleeve_length": ("short", "long"), "price": ("9",), "colour": ("green", "red")}
    assert second.unresolved == {"@category": ("Hats",)}
    assert checked.several == [("sleeve_length", "a")]
    assert {(key, word) for key, word, _ in checked.unknown} == {
        ("@key", "price"),
        ("colour", "green"),
        ("@category", "Hats"),
    }


def test_retired_words_of_several_rows_are_kept_where_no_row_states_a_label() -> None:
    rows = [row(2, sleeve_length="Unknown"), row(3, image="b.jpg", sleeve_length="long", colour="Other")]
    (product,) = check(rows, CHANGED).products
    assert product.labels == {"sleeve_length": ("long",)}
    assert product.retired == {"colour": ("Other",)}
