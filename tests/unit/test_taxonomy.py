"""Taxonomy: the flat axis, spelling, faults found all at once, and the file that people edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attire.errors import TaxonomyError
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


def test_values_of_all_keys_lie_on_one_axis(taxonomy: Taxonomy) -> None:
    assert taxonomy.width == 5
    assert taxonomy.columns == {"neck": slice(0, 2), "details": slice(2, 5)}
    assert taxonomy.key_of_column.tolist() == [0, 0, 1, 1, 1]
    assert taxonomy.column_index["details", "Hood"] == 3
    assert taxonomy.one.tolist() == [True, False]
    np.testing.assert_array_equal(taxonomy.applies, [[False, True], [True, True]])


@pytest.mark.parametrize("spelling", ["Round Neck", "round-neck", " ROUND  NECK ", "round_neck", "crew"])
def test_spellings_lead_to_the_value(taxonomy: Taxonomy, spelling: str) -> None:
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
    again = Taxonomy.read(path)
    assert again == taxonomy
    assert again.digest == taxonomy.digest


def test_words_that_yaml_would_change_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    words = ("no", "yes", "1", "1.0", "null", '3/4 "slv"', "ä #")
    taxonomy = Taxonomy(categories=("A",), keys={"x": Key(categories=("A",), values=words)})
    path.write_text(taxonomy.to_toml(), encoding="utf-8")
    assert Taxonomy.read(path).keys["x"].values == words


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(
        'version = 1\ncategories = ["Shirts"]\n'
        '[keys.neck]\ncategories = ["Shrits"]\nvalues = ["V Neck", "v-neck", "a|b"]\n'
        '[keys.neck.aliases]\ncrew = "Round Neck"\n',
        encoding="utf-8",
    )
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.read(path)
    message = str(caught.value)
    assert str(path) in message
    for fault in (
        "'Shrits' is not a category; did you mean 'Shirts'?",
        "'v-neck' and 'V Neck'",
        "'a|b'",
        "'Round Neck'",
    ):
        assert fault in message


@pytest.mark.parametrize("text", ["", "version = 2\ncategories = ['A']\n[keys]", "categories = [", "\0"])
def test_files_that_are_no_taxonomy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaxonomyError, match="taxonomy"):
        Taxonomy.read(path)
