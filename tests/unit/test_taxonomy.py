"""Taxonomies: the flat value axis, spellings, error messages, and the TOML file."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers.taxonomies import BLUES, PARENTS, blues, parents_of
from hypothesis import given
from hypothesis import strategies as st

from attire.errors import TaxonomyError
from attire.spellings import fold, unfit
from attire.taxonomy import Key, Taxonomy


@pytest.fixture
def taxonomy() -> Taxonomy:
    return Taxonomy(
        categories=("Shirts", "Tshirts"),
        category_aliases={"tee": "Tshirts"},
        keys={
            "neck": Key(categories=("Tshirts",), values=("Round Neck", "Polo Collar"), aliases={"crew": "Round Neck"}),
            "details": Key(arity="many", categories=("Shirts", "Tshirts"), values=("Pocket", "Hood", "Zip")),
        },
    )


def test_values_of_all_keys_form_one_axis(taxonomy: Taxonomy) -> None:
    assert taxonomy.width == 5
    assert taxonomy.columns == {"neck": slice(0, 2), "details": slice(2, 5)}
    assert taxonomy.key_of_column.tolist() == [0, 0, 1, 1, 1]
    assert taxonomy.column_index["details", "Hood"] == 3
    assert taxonomy.one.tolist() == [True, False]
    np.testing.assert_array_equal(taxonomy.applies, [[False, True], [True, True]])


@pytest.mark.parametrize("spelling", ["Round Neck", "round-neck", " ROUND  NECK ", "round_neck", "crew"])
def test_spellings_resolve_to_the_value(taxonomy: Taxonomy, spelling: str) -> None:
    assert taxonomy.value("neck", spelling) == "Round Neck"


def test_unknown_words_name_the_closest(taxonomy: Taxonomy) -> None:
    with pytest.raises(TaxonomyError, match=r"neck='polo colar' is not one of 2 values; did you mean 'Polo Collar'\?"):
        taxonomy.value("neck", "polo colar")
    with pytest.raises(TaxonomyError, match=r"category='Shrits' .* did you mean 'Shirts'"):
        taxonomy.category("Shrits")
    with pytest.raises(TaxonomyError, match="'nekc' is not one of 2 keys; did you mean 'neck'"):
        taxonomy.value("nekc", "crew")
    assert taxonomy.category("TEE") == "Tshirts"


def test_the_file_reads_back_equal(taxonomy: Taxonomy, tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(taxonomy.to_toml("drafted", {("", "Shirts"): 1234, ("neck", "Polo Collar"): 7}), encoding="utf-8")
    assert "# 1,234" in path.read_text(encoding="utf-8")
    again = Taxonomy.load(path)
    assert again == taxonomy
    assert again.digest == taxonomy.digest


def test_words_that_yaml_would_convert_stay_strings(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    words = ("no", "yes", "1", "1.0", "null", '3/4 "slv"', "ä #")
    taxonomy = Taxonomy(categories=("A",), keys={"x": Key(categories=("A",), values=words)})
    path.write_text(taxonomy.to_toml(), encoding="utf-8")
    assert Taxonomy.load(path).keys["x"].values == words


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(
        'version = 1\ncategories = ["Shirts"]\n'
        '[keys.neck]\ncategories = ["Shrits"]\nvalues = ["V Neck", "v-neck", "a|b"]\n'
        '[keys.neck.aliases]\ncrew = "Round Neck"\n',
        encoding="utf-8",
    )
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.load(path)
    message = str(caught.value)
    assert str(path) in message
    for fault in (
        "'Shrits' is not a category; did you mean 'Shirts'?",
        "'v-neck' and 'V Neck'",
        "'a|b'",
        "'Round Neck'",
    ):
        assert fault in message


TOML = 'version = 1\ncategories = ["Shirts"]\n[keys.neck]\ncategories = ["Shirts"]\nvalues = ["Polo"]\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TOML.replace("Polo", "é").encode("cp1252"), "byte 83 is not UTF-8: save it as UTF-8."),
        (b"categories = " + b"[" * 5000, "its arrays or tables are nested too deeply."),
        (b"version = " + b"9" * 5000, "a number has too many digits."),
        (b"categories = [", "Invalid value (at end of document)."),
        (b"categories = [1]\nkeys = 3", "categories.0: Input should be a valid string\n  "),
        (TOML.replace('"Polo"', '"Polo", "Polo"').encode(), "\n  keys.neck: 'Polo' is listed twice"),
        (TOML.replace("Polo", r"x\u001b[31m").encode(), r"keys.neck: 'x\x1b[31m' contains a control character, \x1b"),
        (TOML.replace("Polo", " ").encode(), "keys.neck: ' ' is empty"),
        (TOML.replace("keys.neck", r'keys."ne\u0000ck"').encode(), r"keys: 'ne\x00ck' contains a control character"),
        (TOML.replace("Polo", "y" * 1000 + "|").encode(), "y... (1,001 characters)' contains '|'"),
    ],
)
def test_an_invalid_file_gives_a_clear_message(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_bytes(content)
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.load(path)
    assert message in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_a_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(TOML, encoding="utf-8-sig")
    assert Taxonomy.load(path).keys["neck"].values == ("Polo",)


def test_pipes_devices_and_folders_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path, reason in (
        (tmp_path / "pipe.toml", "it is a pipe"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), ""),
    ):
        with pytest.raises(TaxonomyError, match=f"cannot read the taxonomy .*{reason}"):
            Taxonomy.load(path)


def test_a_spelling_means_one_word() -> None:
    def faults(**more: object) -> str:
        key = {"categories": ["Shirts"], "values": ["Polo", "Round Neck", "V"], **more}
        with pytest.raises(TaxonomyError) as caught:
            Taxonomy.parse({"categories": ["Shirts"], "keys": {"neck": key}}, "it")
        return str(caught.value)

    both = {"crew": "Polo", "Crew": "V"}
    assert "alias 'Crew' of 'V' is also a spelling of 'Polo'" in faults(aliases=both)
    assert "alias 'polo' of 'V' is also a spelling of 'Polo'" in faults(aliases={"polo": "V"})
    assert "alias 'Round' of 'V' is also a spelling of 'Polo'" in faults(titles={"Polo": "Round", "V": "Round"})
    assert "keys.neck.titles: 'W' is not a value" in faults(titles={"W": "x"})


def test_a_long_list_of_faults_is_shortened() -> None:
    for content in ({"categories": [1] * 50}, {"categories": ["a"] * 51}):
        with pytest.raises(TaxonomyError) as caught:
            Taxonomy.parse(content, "it")
        assert str(caught.value).endswith("more")
        assert len(str(caught.value).splitlines()) == 22


def test_a_large_vocabulary_is_written_read_and_checked_quickly(tmp_path: Path) -> None:
    """Quadratic work would take minutes with 20,000 words."""
    words = tuple(f"word number {n}" for n in range(20_000))
    aliases = {f"alias {n}": word for n, word in enumerate(words)}
    kinds = tuple(f"category {n}" for n in range(1_000))
    keys = {f"key {n}": Key(categories=kinds, values=("yes",)) for n in range(50)}
    large = Taxonomy(categories=kinds, keys={**keys, "k": Key(categories=kinds, values=words, aliases=aliases)})
    path = tmp_path / "taxonomy.toml"
    started = time.process_time()
    path.write_text(large.to_toml("drafted", {("k", word): 1 for word in words}), encoding="utf-8")
    read = Taxonomy.load(path)
    assert read == large
    assert read.value("k", "alias 19999") == words[-1]
    assert read.applies.all()
    with pytest.raises(TaxonomyError, match="did you mean 'word number 19999'"):
        read.value("k", "wrod number 19999")
    assert time.process_time() - started < 10


def test_non_printable_characters_are_escaped_in_the_file(tmp_path: Path) -> None:
    words = ("a\nb", "tab\tx", 'quote" x', "back\\slash", "\u202ert", "zero\u200bwidth", "\U000e0041", "é 👕", "'" * 3)
    neck = Key(categories=words, values=words, title='a "key"\n', aliases={"x\ty": "é 👕"})
    taxonomy = Taxonomy(categories=words, keys={"ä.b c": neck})
    text = taxonomy.to_toml("from \x1b[31m.csv\nsecond \u2028 line")
    assert text.replace("\n", "").isprintable()
    path = tmp_path / "taxonomy.toml"
    path.write_text(text, encoding="utf-8")
    assert Taxonomy.load(path) == taxonomy


@pytest.mark.parametrize("text", ["", "version = 2\ncategories = ['A']\n[keys]", "categories = [", "\0"])
def test_other_files_are_refused_as_taxonomies(tmp_path: Path, text: str) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaxonomyError, match="taxonomy"):
        Taxonomy.load(path)


TRANSLATED = """
version = 1
categories = ["Shirts"]
retired_categories = ["Free Gifts"]
retired_keys = ["mood"]

[key_aliases]
neckline = "neck"

[category_titles.de]
Shirts = "Hemden"

[key_titles.pt-BR]
neck = "Gola"

[keys.neck]
categories = ["Shirts"]
values = ["Round", "V"]
retired = ["Unknown"]

[keys.neck.aliases]
crew = "Round"

[keys.neck.titles]
Round = "Round neck"

[keys.neck.titles.de]
Round = "Rundhals"

[keys.neck.titles.fr]
Round = "Col rond"
V = "Col en V"
"""


def loaded(tmp_path: Path, text: str = TRANSLATED) -> Taxonomy:
    (tmp_path / "taxonomy.toml").write_text(text, encoding="utf-8")
    return Taxonomy.load(tmp_path / "taxonomy.toml")


def test_titles_in_all_languages_are_spellings(tmp_path: Path) -> None:
    taxonomy = loaded(tmp_path)
    for text in ("Rundhals", "col rond", "round neck", "Crew"):
        assert taxonomy.value("neck", text) == "Round"
    assert taxonomy.category("HEMDEN") == "Shirts"
    assert [taxonomy.key_named(name) for name in ("neck", "Neckline", "gola", "Neck", "mood")] == [
        "neck", "neck", "neck", None, None,
    ]  # fmt: skip
    assert taxonomy.languages == ("de", "fr", "pt-BR")
    assert taxonomy.titles("neck", "fr") == {"Round": "Col rond", "V": "Col en V"}
    assert taxonomy.titles("@category", "de") == {"Shirts": "Hemden"}
    assert taxonomy.titles("neck", "pt-BR") == {}


def test_retired_words_are_no_words(tmp_path: Path) -> None:
    taxonomy = loaded(tmp_path)
    assert taxonomy.is_retired("neck", "UNKNOWN")
    assert taxonomy.is_retired("@category", "free gifts")
    assert not taxonomy.is_retired("neck", "Round")
    with pytest.raises(TaxonomyError, match="neck='Unknown' is not one of 2 values"):
        taxonomy.value("neck", "Unknown")


def test_a_translated_taxonomy_is_written_and_read_as_the_same(tmp_path: Path) -> None:
    taxonomy = loaded(tmp_path)
    assert loaded(tmp_path, taxonomy.to_toml()) == taxonomy
    assert Taxonomy.model_validate_json(taxonomy.model_dump_json()) == taxonomy


def test_a_taxonomy_without_new_fields_keeps_its_digest() -> None:
    """The digest of this taxonomy as attire wrote it before there were languages and retired words."""
    key = Key(categories=("A",), values=("x", "y"), title="K", titles={"x": "X!"}, aliases={"ex": "x"})
    taxonomy = Taxonomy(categories=("A",), category_aliases={"a2": "A"}, keys={"k": key})
    assert "retired" not in taxonomy.model_dump_json()
    assert taxonomy.digest == "cc762448a8f12c72655eab9e8659a5d949e5b54e98f46566ed647d7ce00e753d"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("titles.fr", "titles.French", "keys.neck.titles: 'French' is not a language; expected a tag such as de or"),
        ('V = "Col en V"', 'W = "Col"', "keys.neck.titles: 'W' is not a value"),
        ('V = "Col en V"', 'V = "Rundhals"', "keys.neck: alias 'Rundhals' of 'V' is also a spelling of 'Round'"),
        ('Shirts = "Hemden"', 'Hats = "Hut"', "category_titles: 'Hats' is not a category"),
        ('neck = "Gola"', 'nekc = "Gola"', "key_titles: 'nekc' is not a key"),
        ('neckline = "neck"', 'neckline = "nekc"', "keys: alias 'neckline' refers to 'nekc', which is not listed"),
        ('["Unknown"]', '["CREW"]', "keys.neck: retired 'CREW' is also a spelling of 'Round'; keep one"),
        ('["mood"]', '["neckline"]', "keys: retired 'neckline' is also a key or an alias; keep one"),
        ('["Free Gifts"]', '["hemden"]', "categories: retired 'hemden' is also a spelling of 'Shirts'; keep one"),
    ],
)  # fmt: skip
def test_faults_of_titles_and_retired_words(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in TRANSLATED
    with pytest.raises(TaxonomyError) as caught:
        loaded(tmp_path, TRANSLATED.replace(old, new))
    assert fault in str(caught.value)


def test_values_have_ancestors_and_roots() -> None:
    taxonomy = blues()
    columns = {value: taxonomy.column_index["colour", value] for value in BLUES}
    names = {column: value for value, column in columns.items()}
    assert [(names[value], names[ancestor]) for value, ancestor in taxonomy.ancestors.tolist()] == [
        ("Navy Blue", "Blue"), ("Light Navy", "Navy Blue"), ("Light Navy", "Blue"), ("Teal", "Blue"),
    ]  # fmt: skip
    blue = columns["Blue"]
    assert taxonomy.roots.tolist() == [0, 1, columns["Red"], blue, blue, blue, blue]
    assert taxonomy.parents("colour") == PARENTS
    assert taxonomy.parents("neck") == taxonomy.parents("@category") == {}
    without = blues({})
    assert without.ancestors.shape == (0, 2)
    assert without.roots.tolist() == list(range(7))
    assert (
        without.digest == Taxonomy.model_validate(without.model_dump(exclude={"keys": {"colour": {"parents"}}})).digest
    )
    assert "parents" not in without.model_dump_json() + without.to_toml()
    assert without != taxonomy
    assert without.has_words_of(taxonomy), "so that a bundle's columns mean the same"
    for change in ({"categories": ("Hats", "Shirts")}, {"keys": dict(reversed(taxonomy.model_dump()["keys"].items()))}):
        assert not Taxonomy.model_validate(taxonomy.model_dump() | change).has_words_of(taxonomy)


@given(st.data())
def test_parents_are_written_and_read_as_the_same(data: st.DataObject) -> None:
    words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6).filter(lambda w: not unfit(w))
    values = tuple(data.draw(st.lists(words, min_size=1, max_size=8, unique_by=fold)))
    key = Key(categories=("A",), values=values, parents=data.draw(parents_of(values)))
    taxonomy = Taxonomy(categories=("A",), keys={"k": key})
    again = Taxonomy.parse(tomllib.loads(taxonomy.to_toml()), "it")
    assert again == Taxonomy.model_validate_json(taxonomy.model_dump_json()) == taxonomy
    assert again.keys["k"].parents == key.parents


@pytest.mark.parametrize(
    ("parents", "faults"),
    [
        ({"Navi Blue": "Blue"}, ["'Navi Blue' is not a value; did you mean 'Navy Blue'?"]),
        ({"Navy Blue": "Bleu"}, ["the parent 'Bleu' of 'Navy Blue' is not a value; did you mean 'Blue'?"]),
        ({"navy-blue": "BLUE"}, ["'navy-blue' is not a value; write 'Navy Blue'", "'BLUE' of 'navy-blue' is not"]),
        ({"Blue": "Blue"}, ["'Blue' is its own parent; remove that line"]),
        (
            {"Blue": "Light Navy", "Navy Blue": "Blue", "Light Navy": "Navy Blue", "Red": "Blue"},
            ["each is the parent of the one before: 'Blue' → 'Light Navy' → 'Navy Blue' → 'Blue'; remove one of these"],
        ),
        ({"Blue": "Red", "Red": "Blue", "Teal": "Navy Blue", "Navy Blue": "Teal"}, ["'Blue' → 'Red' → ", "'Teal' → "]),
        ({"Round": "Blue"}, ["'Round' is not a value."]),
    ],
)  # fmt: skip
def test_faults_of_parents(parents: dict[str, str], faults: list[str]) -> None:
    content = blues({}).model_dump()
    content["keys"]["colour"]["parents"] = parents
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.parse(content, "it")
    lines = str(caught.value).split("\n  ")[1:]
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith("keys.colour.parents: ")
        assert fault in line
