"""Reading published taxonomies, and drafting how own words map to them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import hypothesis.strategies as st
import pytest
from helpers.published import CATEGORIES, GOOGLE, write_google, write_json, write_yaml
from hypothesis import given, settings

from attire.cli import app
from attire.errors import ConfigError, TaxonomyError
from attire.references.loading import load_reference
from attire.references.map_words import map_words
from attire.references.mapping import Mapping, Target
from attire.references.mapping_check import load_complete_mapping
from attire.references.mapping_draft import draft_mapping
from attire.references.matching import canonical
from attire.references.reference import Category, Reference, Shop, Value
from attire.spellings import fold, unfit
from attire.taxonomy import Key, Taxonomy

REAL = Path(__file__).parents[2].parent / "shared" / "formats" / "shopify"
COLOR = "Color (product.metafields.shopify.color-pattern)"
SLEEVE = "Sleeve type (product.metafields.shopify.sleeve-type)"
GENDER = "Target gender (product.metafields.shopify.target-gender)"
EVERYWHERE = ("Tshirts", "Shirt", "Tees", "Jackets")
TAXONOMY = Taxonomy(
    categories=("Tshirts", "Shirt", "Tees", "Jackets", "Kaftans"),
    category_aliases={"belts": "Tees"},
    keys={
        "colour": Key(categories=EVERYWHERE, values=("grey", "crimson", "rosegold"), aliases={"Red": "crimson"}),
        "sleeves": Key(categories=EVERYWHERE, values=("Long Sleeves", "short sleeve", "cap")),
        "for": Key(categories=EVERYWHERE, values=("Men", "Girls", "Pets")),
        "pattern": Key(categories=EVERYWHERE, values=("dots",)),
    },
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("published")
    return load_reference([*write_json(folder), write_google(folder)])


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    from_json, from_yaml = load_reference(write_json(tmp_path / "dist")), load_reference(write_yaml(tmp_path / "data"))
    assert from_json == from_yaml
    assert from_json.categories["shopify"] == {
        id: Category(id, path, attributes) for id, (path, attributes) in CATEGORIES.items()
    }
    assert from_json.attributes["belt-color"].values[2] == Value("color__rose-gold", "Rose gold")
    assert from_json.google_of == {"xx-1-1": "12", "xx-4": "13"}


def test_one_file_may_have_all(tmp_path: Path) -> None:
    categories, attributes, _ = write_json(tmp_path)
    whole = tmp_path / "taxonomy.json"
    whole.write_text(json.dumps(json.loads(categories.read_text()) | json.loads(attributes.read_text())))
    assert load_reference([whole]) == load_reference([categories, attributes])


def test_folders_are_read_without_other_files(tmp_path: Path) -> None:
    write_json(tmp_path)
    (tmp_path / "notes.json").write_text('{"version": 1}')
    (tmp_path / "attributes.txt").write_text("gid://shopify/TaxonomyAttribute/1 : Color\n")
    assert load_reference([tmp_path]) == load_reference(write_json(tmp_path))


@pytest.mark.parametrize("name", ["list.txt", "names.json", "names.yml"])
def test_google_in_all_its_forms(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".txt":
        path.write_bytes(b"\xef\xbb\xbf" + write_google(tmp_path).read_bytes())
    else:
        path.write_text(json.dumps(GOOGLE))  # JSON is YAML too
    assert {id: category.path for id, category in load_reference([path]).categories["google"].items()} == GOOGLE


def test_shopify_categories_as_text(tmp_path: Path) -> None:
    path = tmp_path / "categories.txt"
    path.write_text("# Shopify\n\ngid://shopify/TaxonomyCategory/xx   : Garments\n")
    assert load_reference([path]).categories["shopify"] == {"xx": Category("xx", "Garments")}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "cannot read .*a.json"),
        ("a.json", '{"verticals": [{"categories": [{"id": "x"}]}]}', "full_name: Field required"),
        ("a.json", '{"x": 1}', "is not a file of a published taxonomy"),
        ("a.yml", "- [", "cannot read .*a.yml"),
        ("a.yml", "[" * 5000, "cannot read .*a.yml"),
        ("a.txt", "12 - Garments\nbelts\n", "expected 'ID - CATEGORY > ...', got 'belts'"),
        ("a.txt", "belts\n", "is not a file of a published taxonomy"),
        ("a.yml", "- {id: xx-1, name: Tops, children: [], attributes: []}", "the categories above 'xx-1' are missing"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TaxonomyError, match=message):
        load_reference([tmp_path / name])


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match="no category was found"):
        load_reference([write_json(tmp_path)[1]])
    with pytest.raises(TaxonomyError, match=r"'color__gray' of the attribute 'Color' has no name.*values\.yml"):
        load_reference(write_yaml(tmp_path)[:2])
    with pytest.raises(TaxonomyError, match=r"nowhere\.json: No such file"):
        load_reference([tmp_path / "nowhere.json"])


@pytest.mark.parametrize(
    ("one", "other"),
    [("T-Shirts", "tshirt"), ("Women's Shoes", "womens shoe"), ("colour", "Colors"), ("Trousers", "Pants")],
)
def test_spellings_of_one_word(one: str, other: str) -> None:
    assert canonical(one).replace("womens", "women") == canonical(other).replace("womens", "women")


def test_a_draft_for_shopify(published: Reference) -> None:
    draft = draft_mapping(TAXONOMY, published, "shopify")
    assert {word: target.id for word, target in draft.mapping.categories.items()} == {
        "Tshirts": "xx-1-1",
        "Shirt": "xx-1-2",  # the one with the shorter path
        "Tees": "xx-4",  # by its alias
    }
    unmapped = {word.word: [target.id for target in word.nearest] for word in draft.categories}
    assert unmapped == {"Jackets": ["xx-2", "xx-3-1-1"], "Kaftans": []}  # "Coats & Jackets" may be meant
    names = {
        key: {column: {word: target.name for word, target in targets.items()} for column, targets in columns.items()}
        for key, columns in draft.mapping.keys.items()
    }
    assert names == {
        "colour": {COLOR: {"grey": "Gray", "crimson": "Red", "rosegold": "Rose gold"}},
        "sleeves": {SLEEVE: {"Long Sleeves": "Long", "short sleeve": "Short"}},
        "for": {GENDER: {"Men": "Male", "Girls": "Female"}},
    }
    assert [word.word for word in draft.values["sleeves", SLEEVE]] == ["cap"]
    assert [key.word for key in draft.keys] == ["pattern"]  # is a part of the color's metafield
    assert draft.by_values == {"sleeves", "for"}


def test_a_draft_for_google(published: Reference) -> None:
    draft = draft_mapping(TAXONOMY, published, "google")
    assert {word: target.id for word, target in draft.mapping.categories.items()} == {
        "Tshirts": "12",  # by way of Shopify's T-Shirts
        "Shirt": "12",  # "Shirts & Tops"
        "Tees": "13",
    }
    assert draft.mapping.keys["colour"]["color"]["grey"] == Target(name="grey")  # any text is allowed
    assert draft.mapping.keys["for"] == {
        "gender": {"Men": Target(name="male"), "Girls": Target(name="female")},
        "age_group": {"Men": Target(name="adult"), "Girls": Target(name="kids")},
    }
    assert [key.word for key in draft.keys] == ["sleeves"]


def test_every_comment_may_be_used(published: Reference, tmp_path: Path) -> None:
    text = draft_mapping(TAXONOMY, published, "shopify").to_toml()
    lines = [line.removeprefix("# ") if line.startswith(("# [", '# "')) else line for line in text.splitlines()]
    seen: set[str] = set()
    kept = []
    for line in lines:  # a person takes the first candidate of each word
        word = line.partition(" = ")[0] if line.startswith('"') else line
        if word not in seen or not word:
            kept.append(line)
        seen = {word} if line.startswith("[") else seen | {word}
    path = tmp_path / "mapping.toml"
    path.write_text("\n".join(kept))
    mapping = Mapping.load(path)
    assert mapping.categories["Jackets"].id == "xx-2"
    assert mapping.categories["Kaftans"] == Target()
    assert mapping.keys["pattern"] == {}
    assert draft_mapping(TAXONOMY, published, "shopify", mapping).keys == []


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(
    lambda word: not unfit(word)
)
DISTINCT = st.lists(WORDS, min_size=1, max_size=5, unique_by=fold)


@settings(max_examples=60, deadline=None)
@given(categories=DISTINCT, keys=DISTINCT, values=DISTINCT, to=st.sampled_from(["shopify", "google"]))
def test_any_words_are_read_back(
    published: Reference, categories: list[str], keys: list[str], values: list[str], to: Shop
) -> None:
    words = ["Tshirts", *(word for word in categories if fold(word) != "tshirts")]
    key = Key(categories=tuple(words), values=tuple(values))
    taxonomy = Taxonomy(categories=tuple(words), keys=dict.fromkeys([*keys, "colour"], key))
    draft = draft_mapping(taxonomy, published, to)
    mapping = Mapping.model_validate(tomllib.loads(draft.to_toml()))
    assert mapping == draft.mapping
    again = draft_mapping(taxonomy, published, to, mapping)
    assert again.mapping == mapping
    assert (again.categories, again.keys, again.values) == (draft.categories, draft.keys, draft.values)


def test_a_redraft_keeps_what_people_edited(tmp_path: Path) -> None:
    files, out = write_json(tmp_path), tmp_path / "mapping.toml"
    out.write_text(
        'to = "shopify"\n[categories]\n"Tshirts" = { id = "xx-1" }\n"Jackets" = "Garments > Belts"\n"Shirt" = ""\n'
        '"Old" = { id = "own-9", name = "Ours" }\n'
        f'[keys.colour."{COLOR}"]\n"grey" = {{ id = "color__red", name = "red" }}\n'
        '[keys.sleeves]\n[keys.for."For (product.metafields.custom.for)"]\n"Men" = "Him"\n'
    )
    map_words(TAXONOMY, "shopify", files, out)
    kept = Mapping.load(out)
    assert kept.categories["Tshirts"] == Target(id="xx-1", name="Garments > Tops")  # completed
    assert kept.categories["Jackets"] == Target(id="xx-4", name="Garments > Belts")
    assert kept.categories["Shirt"] == Target()
    assert kept.categories["Old"] == Target(id="own-9", name="Ours")
    assert kept.categories["Tees"].id == "xx-4"  # new
    assert kept.keys["colour"][COLOR]["grey"] == Target(id="color__red", name="Red")
    assert kept.keys["colour"][COLOR]["crimson"].name == "Red"  # new
    assert kept.keys["sleeves"] == {}
    assert kept.keys["for"] == {"For (product.metafields.custom.for)": {"Men": Target(name="Him")}}
    before = out.read_text()
    map_words(TAXONOMY, "shopify", files, out)
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('to = "google"\n', ConfigError, "maps to google. Choose another --out for shopify"),
        ('to = "ebay"\n', ConfigError, "to: Input should be 'shopify' or 'google'"),
        ('to = "shopify"\n[categories]\nx = { id = "xx-4", name = "Ties" }\n', TaxonomyError, "Garments > Belts"),
        ("to =", ConfigError, "is not a valid mapping"),
    ],
)
def test_mappings_that_cannot_be_redrafted(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    out = tmp_path / "mapping.toml"
    out.write_text(text)
    with pytest.raises(error, match=message):
        map_words(TAXONOMY, "shopify", write_json(tmp_path), out)
    assert out.read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('to = "shopify"\n', "maps to shopify, but --as is google"),
        ('to = "google"\n[categories]\nx = { id = "12" }\n', "'x' has an id, but no name"),
        ('to = "google"\n[keys.a.colour]\n', "'colour' is not one of Google's columns .* did you mean 'color'"),
        ('to = "google"\n[keys.a.gender]\nMen = "men"\n', "gender cannot be 'men'. Expected male, female, unisex"),
    ],
)
def test_mappings_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_complete_mapping(path, "google")


def test_the_command_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taxonomy.toml").write_text(TAXONOMY.to_toml())
    files = map(str, write_json(tmp_path))
    out = tmp_path / "mapping.toml"
    command = ["taxonomy", "map", str(tmp_path), "--to", "shopify", "--reference", *files, "--out", str(out)]
    app(command, result_action="return_value")
    assert "3 mapped, 2 without a match" in capsys.readouterr().out
    assert tomllib.loads(out.read_text())["to"] == "shopify"


@pytest.mark.skipif(not REAL.is_dir(), reason="Shopify's taxonomy is only in ../shared/formats/shopify")
def test_the_apparel_part_of_the_real_taxonomy() -> None:
    names = ("aa_apparel_accessories", "lb_luggage_bags", "attributes_apparel", "values_apparel")
    google = ("google_2021-09-21_from_shopify_apparel.yml", "google_2021-09-21_apparel_names.json")
    reference = load_reference([*(REAL / f"{name}.yml" for name in names), *(REAL / name for name in google)])
    joined = json.loads((REAL / "apparel.json").read_text())
    for category in joined["categories"]:
        assert reference.categories["shopify"][category["id"]].path == category["full_name"]
    assert len(joined["categories"]) == len(reference.google_of) == 463
    assert len({value.id for attribute in reference.attributes.values() for value in attribute.values}) == 1751
    words = Taxonomy(
        categories=("Tshirts", "Trousers"),
        keys={"colour": Key(categories=("Tshirts",), values=("Grey", "Navy Blue"))},
    )
    mapping = draft_mapping(words, reference, "shopify").mapping
    assert mapping.categories["Trousers"].name == "Apparel & Accessories > Clothing > Pants"
    assert mapping.keys["colour"][COLOR] == {"Grey": Target(id="color__gray", name="Gray")}
    assert draft_mapping(words, reference, "google").mapping.categories["Tshirts"].id == "212"


def test_a_value_without_a_match_gets_that_of_its_parent(published: Reference) -> None:
    parents = {"wine": "crimson", "Merlot": "wine", "rosegold": "grey", "olive": "mud"}
    values = ("grey", "crimson", "rosegold", "wine", "Merlot", "mud", "olive")
    key = Key(categories=EVERYWHERE, values=values, aliases={"Red": "crimson"}, parents=parents)
    draft = draft_mapping(Taxonomy(categories=TAXONOMY.categories, keys={"colour": key}), published, "shopify")
    assert {word: target.name for word, target in draft.mapping.keys["colour"][COLOR].items()} == {
        "grey": "Gray", "crimson": "Red", "rosegold": "Rose gold", "wine": "Red", "Merlot": "Red",
    }  # fmt: skip
    assert [word.word for word in draft.values["colour", COLOR]] == ["mud", "olive"]
