"""Drift: tests of two samples, counts that add up, and what is said about the promise of each key."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers.drawn_answers import TAXONOMY, Drawn, calibrated_bundle, draw
from scipy.stats import binom, fisher_exact, mannwhitneyu

from attire.bundle import ModelBundle
from attire.errors import ConfigError
from attire.evaluation.drift import drift
from attire.evaluation.drift_tables import belief, drift_sentences
from attire.inference.chunks import RowBuilder
from attire.inference.product_logits import LogitsTable
from attire.inference.run_record import RunSettings, record_path, write_record
from attire.score.answer_counts import AnswerCounts, SavedCounts
from attire.score.drift import Verdict, find_drift
from attire.score.promise import Promise
from attire.score.two_samples import holm, less_sure, shares_differ

SURE = Promise(precision=0.9)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return calibrated_bundle(tmp_path_factory.mktemp("drift") / "bundle")


def counted(bundle: ModelBundle, drawn: Drawn, groups: tuple[str, ...] = ()) -> AnswerCounts:
    return bundle.answer_counts(*drawn[1:], SURE, groups)


def verdicts(bundle: ModelBundle, counts: AnswerCounts) -> dict[str, Verdict]:
    reference = bundle.reference(SURE)
    assert reference is not None
    return {key.key: key.verdict for key in find_drift(reference, counts).keys}


@pytest.mark.parametrize(("n", "m"), [(400, 60), (80, 300)])
def test_in_one_stratum_it_is_the_rank_sum_test(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    for tilt in (0.0, 0.1, 0.3):
        p = np.exp(tilt * np.arange(8))
        x, y = rng.integers(0, 8, n), rng.choice(8, m, p=p[::-1] / p.sum())
        effect, found = less_sure(*(np.bincount(sample, minlength=8)[None] for sample in (x, y)))
        expected = mannwhitneyu(y, x, alternative="less")
        assert effect == pytest.approx(2 * expected.statistic / n / m - 1)
        assert found == pytest.approx(expected.pvalue, rel=0.5, abs=1e-9)


def test_a_few_answers_below_a_full_highest_bin_are_no_proof() -> None:
    """A normal approximation would be wrong by orders of magnitude; compared with all ways to draw three of 21."""
    first, second = np.array([[2, 0, 16]]), np.array([[2, 0, 1]])
    sure = np.repeat([0, 2], [4, 17])
    exact = np.mean([sure[list(drawn)].sum() <= 2 for drawn in combinations(range(21), 3)])
    assert less_sure(first, second)[1] == pytest.approx(exact, rel=0.7)
    assert less_sure(np.array([[0, 20]]), np.array([[3, 0]]))[1] < 0.01
    assert less_sure(np.array([[5, 0]]), np.array([[0, 5]]))[1] > 0.9
    assert less_sure(np.array([[5], [0]]), np.array([[0], [5]])) == (0.0, 1.0), "no value has answers on both sides"


def test_other_shares_of_values_are_not_other_confidences() -> None:
    sure = np.array([[5, 10, 85], [60, 30, 10]])
    effect, p = less_sure(100 * sure, np.array([[1], [20]]) * sure)
    assert abs(effect) < 1e-9
    assert p > 0.4
    assert less_sure(100 * sure, 20 * sure[:, ::-1])[0] < 0.2


def test_shares_are_compared_exactly() -> None:
    first, second = np.array([3, 40, 0, 57]), np.array([9, 20, 1, 20])
    found = shares_differ(first, 100, second, 50)
    for a, b, p in zip(first, second, found, strict=True):
        table = [[b, 50 - b], [a, 100 - a]]
        tails = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        assert p == pytest.approx(min(1, 2 * min(tails)))


def test_holm_rejects_in_order() -> None:
    assert holm(np.array([0.04, 0.001, 0.2, 0.016]), 0.05).tolist() == [False, True, False, True]
    assert holm(np.array([0.04, 0.01]), 0.05).all()


def test_counts_add_up_and_are_read_as_they_were_written(bundle: ModelBundle) -> None:
    drawn = draw(200, 1)
    whole = counted(bundle, drawn)
    halves = [counted(bundle, (drawn[0], drawn[1][rows], drawn[2][rows])) for rows in (slice(120), slice(120, 200))]
    read = SavedCounts.model_validate_json(whole.saved().model_dump_json()).counts()
    for other in (halves[0] + halves[1], read):
        assert (other.words, other.products, other.squares) == (whole.words, 200, 200)
        np.testing.assert_array_equal(other.answers, whole.answers)
        np.testing.assert_array_equal(other.filled, whole.filled)
        np.testing.assert_allclose(other.expected, whole.expected, rtol=1e-5)


def test_the_record_counts_like_the_decisions_that_it_was_made_from(bundle: ModelBundle) -> None:
    reference = bundle.reference(SURE)
    assert reference is not None
    whole = counted(bundle, draw(3000, 0))
    np.testing.assert_array_equal(reference.counts.answers, whole.answers)
    np.testing.assert_array_equal(reference.counts.filled, whole.filled)
    np.testing.assert_allclose(reference.counts.expected, whole.expected, rtol=1e-4)
    assert whole.filled.all(), "otherwise this says little"
    assert (bundle.accepted(bundle.decide(*draw(3000, 0)[1:]), SURE).coarse).any()
    assert (reference.precision >= 0.9).all()
    # Labels are drawn from the confidences, so they let expect what is measured.
    np.testing.assert_allclose(whole.expected / whole.filled, reference.precision, atol=0.02)


def test_the_rate_of_false_alarms_is_kept(bundle: ModelBundle) -> None:
    found = [verdicts(bundle, counted(bundle, draw(150, seed))) for seed in range(1, 151)]
    alarms = sum(any(verdict in (Verdict.OTHER, Verdict.LESS_SURE) for verdict in keys.values()) for keys in found)
    assert alarms <= binom.ppf(0.999, len(found), 0.01)


def test_less_sure_answers_put_the_promise_in_doubt(bundle: ModelBundle) -> None:
    reference = bundle.reference(SURE)
    assert reference is not None
    found = find_drift(reference, counted(bundle, draw(300, 1, spread=2)))
    assert {key.key for key in found.doubted} == {"neck", "colour"}
    assert {key.verdict for key in found.doubted} == {Verdict.LESS_SURE}
    assert all(key.sureness < -0.2 for key in found.doubted)
    assert "in doubt for 2: neck (less sure), colour (less sure)." in drift_sentences(found)[1]
    surer = verdicts(bundle, counted(bundle, draw(300, 1, spread=9)))
    assert Verdict.LESS_SURE not in surer.values()


def test_other_values_alone_do_not(bundle: ModelBundle) -> None:
    drawn = draw(6000, 1)
    teal = drawn[2][:, TAXONOMY.columns["colour"]].argmax(axis=1) == 4
    kept = np.flatnonzero(teal | (np.arange(6000) % 5 == 0))[:600]  # Teal is in fashion
    reference = bundle.reference(SURE)
    assert reference is not None
    found = find_drift(reference, counted(bundle, (drawn[0], drawn[1][kept], drawn[2][kept])))
    (colour,) = found.alarms
    assert (colour.key, colour.verdict, colour.value) == ("colour", Verdict.OTHER, "Teal")
    assert colour.value_shares[1] > 2 * colour.value_shares[0]
    assert belief(colour) == "can be believed"
    assert not found.doubted
    assert drift_sentences(found)[-1].endswith("other answers, but not less sure ones: colour.")


def test_few_answers_do_not_tell(bundle: ModelBundle) -> None:
    found = verdicts(bundle, counted(bundle, draw(20, 1)))
    assert set(found.values()) == {Verdict.FEW}
    nothing = bundle.answer_counts(np.zeros((0, 2), np.float32), np.zeros((0, 7), np.float32), SURE)
    assert set(verdicts(bundle, nothing).values()) == {Verdict.FEW}


def test_variants_of_one_product_do_not_count_as_many(bundle: ModelBundle) -> None:
    """Eight photos of one group say no more than one: alarms that treat them as independent would be false."""
    alarms = {"products": 0, "groups": 0}
    for seed in range(40):
        drawn = draw(60, seed)
        eight: Drawn = (drawn[0], np.repeat(drawn[1], 8, axis=0), np.repeat(drawn[2], 8, axis=0))
        groups = tuple(np.repeat(np.arange(60).astype(str), 8))
        for name, known in (("products", ()), ("groups", groups)):
            found = verdicts(bundle, counted(bundle, eight, known))
            alarms[name] += any(verdict in (Verdict.OTHER, Verdict.LESS_SURE) for verdict in found.values())
    assert alarms["products"] > 5
    assert alarms["groups"] <= binom.ppf(0.999, 40, 0.01)
    assert counted(bundle, draw(3, 0), ("a", "", "a")).squares == 5
    varied = bundle.spec.model_copy(update={"provenance": bundle.provenance | {"variety": 0.25}})
    reference = replace(bundle, spec=varied).reference(SURE)
    assert reference is not None
    assert reference.counts.independent == 750


def record(out: Path, digest: str, counts: AnswerCounts) -> Path:
    """Write an output with a record, as `predict` does."""
    out.write_text("id\n")
    settings = {"attire": "1", "bundle": digest, "engine": "torch", "format": "wide", "promise": SURE}
    write_record(out, RunSettings.model_validate(settings), "", counts, {"products": 1, "unread": 0})
    return out


def test_two_outputs_are_compared_and_drawn(bundle: ModelBundle, tmp_path: Path) -> None:
    a = record(tmp_path / "a.csv", bundle.digest, counted(bundle, draw(900, 1)))
    b = record(tmp_path / "b.csv", bundle.digest, counted(bundle, draw(300, 2, spread=2)))
    found = drift(a, b, out=tmp_path / "new" / "page.html")
    assert {key.key for key in found.doubted} == {"neck", "colour"}
    page = (tmp_path / "new" / "page.html").read_text()
    assert "The promise is in doubt for 2: neck (less sure), colour (less sure)." in page
    assert page.count("<svg ") == 6
    saved = json.loads((tmp_path / "new" / "page.json").read_text())
    assert [key["key"] for key in saved["keys"] if key["doubted"]] == ["neck", "colour"]
    assert SavedCounts.model_validate(saved["now"]).counts().products == 300
    assert not drift(a, a).alarms


def test_sides_that_cannot_be_compared_are_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    a = record(tmp_path / "a.csv", bundle.digest, counted(bundle, draw(60, 1)))
    other = record(tmp_path / "other.csv", "f" * 64, counted(bundle, draw(60, 1)))
    bare = tmp_path / "bare.csv"
    bare.write_text("id\n")
    faults = {
        other: "are not from the same bundle",
        bare: r"has no record of its answers, bare\.csv\.json",
        tmp_path / "missing.csv": "does not exist",
        tmp_path: "is a directory, but not a bundle",
    }
    for b, message in faults.items():
        with pytest.raises(ConfigError, match=message):
            drift(a, b)
    uncalibrated = ModelBundle.load(bundle.path)
    with pytest.raises(ConfigError, match="has no record of its answers at calibration"):
        drift(bundle.path, record(tmp_path / "b.csv", uncalibrated.digest, AnswerCounts.none(TAXONOMY)))
    content = json.loads(record_path(a).read_text())
    content["answers"]["keys"]["neck"]["answers"]["V"] = {"56": 1}
    record_path(a).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="damaged or of another version: bin 56"):
        drift(a, a)
    record_path(a).write_text(json.dumps(content | {"answers": None}))
    with pytest.raises(ConfigError, match="an earlier attire wrote it"):
        drift(a, a)


def test_known_categories_do_not_change_what_is_compared(bundle: ModelBundle) -> None:
    _, category, logits = draw(10, 3)
    table = LogitsTable([], [], np.arange(10), category, logits, np.ones(10, np.int64), 10, 0, ("g",) * 10)
    counts = RowBuilder(bundle, "wide", SURE).counts(table)
    np.testing.assert_array_equal(counts.answers, counted(bundle, draw(10, 3)).answers)
    assert counts.squares == 100
    assert not bundle.decide(category, logits, table.known).applies.any(), "hats have no keys"
