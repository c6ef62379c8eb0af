"""Hashed titles: stable indices for any title."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from attire.config import Architecture
from attire.titles import LONGEST, TitleReader, ngrams


def test_indices_never_change() -> None:
    """Bundles are trained on these indices: if this fails, existing bundles no longer work."""
    (ids,) = TitleReader(1000)(["Navy  V-Neck"])
    assert list(ngrams("Navy  V-Neck"))[:6] == ["<navy>", "<v>", "<neck>", "navy v", "v neck", "<na"]
    assert ids[:6].tolist() == [12, 943, 514, 95, 753, 8]
    assert len(list(ngrams("Navy  V-Neck"))) == (ids > 0).sum() == 23


def test_indices_do_not_depend_on_the_process() -> None:
    code = "from attire.titles import TitleReader; print(TitleReader(1000)(['Navy  V-Neck']).sum())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(process.stdout) == TitleReader(1000)(["Navy  V-Neck"]).sum()


@pytest.mark.parametrize("title", ["", "  ", "!?"])
def test_a_title_without_words_is_all_padding(title: str) -> None:
    assert not TitleReader(8)([title]).any()


def test_equivalent_spellings_give_equal_indices() -> None:
    plain, wide, straight, sharp = TitleReader(5000)(["STRASSE 34", "ｓｔｒａｓｓｅ ３４", "strasse, 34", "straße 34"])
    np.testing.assert_array_equal(plain, wide)
    np.testing.assert_array_equal(plain, straight)
    np.testing.assert_array_equal(plain, sharp)


def test_long_titles_are_truncated_and_indices_are_in_range() -> None:
    words = " ".join(f"word{n}" for n in range(400))
    ids = TitleReader(50)([words, "a"])
    assert ids.shape == (2, LONGEST)
    assert ids[0].min() >= 1
    assert ids.max() < 50
    assert (ids[1] > 0).sum() == 1


def test_very_long_titles_are_fast() -> None:
    reader = TitleReader(1024)
    marks = "a" + "\u0315\u0300" * 1_000_000  # normalisation sorts a run of marks in quadratic time
    started = time.process_time()
    np.testing.assert_array_equal(reader(["tee " * 5_000_000]), reader(["tee " * 1_000]))
    assert reader([marks]).any()
    assert time.process_time() - started < 5


def test_the_reader_follows_the_architecture() -> None:
    assert TitleReader.of(Architecture()) is None
    assert TitleReader.of(Architecture(text="title", text_buckets=77)) == TitleReader(77)
