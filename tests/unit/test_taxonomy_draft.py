"""Drafted taxonomies: words by frequency, aliases for other spellings, and the categories to which a key applies."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from attire.catalog.check import check
from attire.catalog.feed_row import Row
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.taxonomy_draft import draft_taxonomy
from attire.errors import FeedError
from attire.taxonomy import Taxonomy

MYNTRA = Path(__file__).parents[2].parent / "shared" / "benchmarks" / "myntra26"


def rows(*products: tuple[str, Mapping[str, Sequence[str]]]) -> list[Row]:
    return [
        Row(n, f"p{n}", category, {key: tuple(words) for key, words in labels.items()}, (f"{n}.jpg",))
        for n, (category, labels) in enumerate(products, 2)
    ]


def test_words_are_sorted_by_frequency_then_name_and_keys_as_in_the_feed() -> None:
    labels = [{"neck": [neck], "fit": ["slim"]} for neck in ("V", "Polo", "V", "Crew")]
    draft = draft_taxonomy(rows(*zip(["Shirts", "Jeans", "Shirts", "Belts"], labels, strict=True)))
    assert draft.taxonomy.categories == ("Shirts", "Belts", "Jeans")
    assert list(draft.taxonomy.keys) == ["neck", "fit"]
    assert draft.taxonomy.keys["neck"].values == ("V", "Crew", "Polo")
    assert draft.counts["neck", "V"] == draft.counts["", "Shirts"] == 2


def test_spellings_become_aliases_of_the_most_frequent() -> None:
    necks = ["Round Neck", "round neck", "round neck", "Round-Neck", "Polo"]
    draft = draft_taxonomy(
        rows(*((kind, {"neck": [n]}) for n, kind in zip(necks, ["Tops"] * 4 + ["tops"], strict=True)))
    )
    assert draft.taxonomy.keys["neck"].values == ("round neck", "Polo")
    assert draft.taxonomy.keys["neck"].aliases == {"Round Neck": "round neck", "Round-Neck": "round neck"}
    assert draft.taxonomy.category_aliases == {"tops": "Tops"}
    assert draft.counts["neck", "round neck"] == 4
    assert draft.counts["", "Tops"] == 5


def test_a_key_takes_several_values_if_one_product_has_them() -> None:
    both = ("Tops", {"colour": ["red", "blue"], "neck": ["Polo", "polo"]})
    keys = draft_taxonomy(rows(("Tops", {"colour": ["red"]}), both)).taxonomy.keys
    assert (keys["colour"].arity, keys["neck"].arity) == ("many", "one")


def test_a_key_applies_to_categories_with_enough_labels() -> None:
    feed = rows(
        *[("Shirts", {"collar": ["spread"] if n < 5 else []}) for n in range(100)],
        *[("Jeans", {"collar": ["spread"] if n < 4 else [], "rare": ["x"] if n < 2 else []}) for n in range(100)],
    )
    assert draft_taxonomy(feed).taxonomy.keys["collar"].categories == ("Shirts",)
    assert set(draft_taxonomy(feed, min_share=0.04).taxonomy.keys["collar"].categories) == {"Shirts", "Jeans"}
    assert draft_taxonomy(feed).taxonomy.keys["rare"].categories == ("Jeans",)  # the category with the most labels


def test_a_draft_with_thousands_of_keys_is_fast() -> None:
    feed = rows(*(("Tops", {f"key {n}": ["x"]}) for n in range(5_000)))
    started = time.process_time()
    assert len(draft_taxonomy(feed).taxonomy.keys) == 5_000
    assert time.process_time() - started < 5  # a loop over 25 million (row, key) pairs would take longer


def test_of_categories_with_equally_few_labels_the_first_is_chosen() -> None:
    feed = rows(*((kind, {"rare": ["x"] if n == 0 else []}) for kind in "ZYXWV" for n in range(100)))
    assert draft_taxonomy(feed).taxonomy.keys["rare"].categories == ("V",)


def test_keys_without_labels_are_left_out_and_listed() -> None:
    draft = draft_taxonomy(rows(("Tops", {"neck": [], "fit": ["slim"]})))
    assert (list(draft.taxonomy.keys), draft.unlabelled) == (["fit"], ("neck",))


def test_several_rows_of_a_product_count_once() -> None:
    first, more = Row(2, "a", "", {"neck": ()}, ("1.jpg",)), Row(3, "a", "Tops", {"neck": ("V",)}, ("2.jpg",))
    draft = draft_taxonomy([first, more, Row(4, "a", "Tops", {"neck": ("V",), "fit": ("slim",)}, ("3.jpg",))])
    assert draft.counts == {("", "Tops"): 1, ("neck", "V"): 1, ("fit", "slim"): 1}


def test_a_draft_needs_categories() -> None:
    with pytest.raises(FeedError, match="no row names a category"):
        draft_taxonomy(rows(("", {"neck": ["V"]})))


def test_a_draft_fits_its_own_feed_and_survives_its_file(tmp_path: Path) -> None:
    feed = rows(("Tops", {"neck": ["V", "no collar"], "fit": ["no"]}), ("tops", {"neck": ["v"]}), ("Tops", {}))
    draft = draft_taxonomy(feed)
    assert not check(feed, draft.taxonomy).problems
    path = tmp_path / "taxonomy.toml"
    path.write_text(draft.taxonomy.to_toml("Drafted.", draft.counts), encoding="utf-8")
    assert Taxonomy.load(path) == draft.taxonomy
    assert '"V", # 2' in path.read_text(encoding="utf-8")


@pytest.mark.skipif(not MYNTRA.is_dir(), reason="the benchmark is only in ../shared/benchmarks")
def test_the_draft_of_the_benchmark_is_its_published_vocabulary() -> None:
    feed = list(SOURCES["table"](MYNTRA / "public.csv", SourceOptions(ignore=("brand",))))
    draft = draft_taxonomy(feed)
    words = draft.taxonomy
    assert (len(feed), len(words.categories), len(words.keys), words.width) == (10_131, 26, 46, 248)
    published = json.loads((MYNTRA / "keys.json").read_text(encoding="utf-8"))
    assert list(words.keys) == list(published)
    assert all(set(words.keys[name].values) == set(key["values"]) for name, key in published.items())
    differing = [set(words.keys[name].categories) ^ set(key["categories"]) for name, key in published.items()]
    assert sum(map(len, differing)) <= 4
    assert not check(feed, words).problems
