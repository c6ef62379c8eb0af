"""Titles as numbers: the same everywhere and for ever, whatever the title."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from attire.config import Architecture
from attire.titles import LONGEST, TitleReader, ngrams


def test_numbers_are_fixed_for_ever() -> None:
    """Bundles were trained on these numbers: if this fails, they would read other words than they learned."""
    (ids,) = TitleReader(1000)(["Navy  V-Neck"])
    assert list(ngrams("Navy  V-Neck"))[:6] == ["<navy>", "<v>", "<neck>", "navy v", "v neck", "<na"]
    assert ids[:6].tolist() == [12, 943, 514, 95, 753, 8]
    assert len(list(ngrams("Navy  V-Neck"))) == (ids > 0).sum() == 23


def test_numbers_do_not_depend_on_the_process() -> None:
    code = "from attire.titles import TitleReader; print(TitleReader(1000)(['Navy  V-Neck']).sum())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == TitleReader(1000)(["Navy  V-Neck"]).sum()


@pytest.mark.parametrize("title", ["", "  ", "!?"])
def test_no_word_is_padding_alone(title: str) -> None:
    assert not TitleReader(8)([title]).any()


def test_spelling_that_people_do_not_see_does_not_matter() -> None:
    plain, wide, straight, sharp = TitleReader(5000)(["STRASSE 34", "ｓｔｒａｓｓｅ ３４", "strasse, 34", "straße 34"])
    np.testing.assert_array_equal(plain, wide)
    np.testing.assert_array_equal(plain, straight)
    np.testing.assert_array_equal(plain, sharp)


def test_long_titles_are_cut_and_stay_in_the_table() -> None:
    words = " ".join(f"word{n}" for n in range(400))
    ids = TitleReader(50)([words, "a"])
    assert ids.shape == (2, LONGEST)
    assert ids[0].min() >= 1
    assert ids.max() < 50
    assert (ids[1] > 0).sum() == 1


def test_a_page_for_a_title_takes_no_longer_than_a_title() -> None:
    reader = TitleReader(1024)
    marks = "a" + "\u0315\u0300" * 1_000_000  # a run of marks, which normalising sorts, takes its square
    started = time.process_time()
    np.testing.assert_array_equal(reader(["tee " * 5_000_000]), reader(["tee " * 1_000]))
    assert reader([marks]).any()
    assert time.process_time() - started < 5


def test_a_network_tells_its_reader() -> None:
    assert TitleReader.of(Architecture()) is None
    assert TitleReader.of(Architecture(text="title", text_buckets=77)) == TitleReader(77)
