"""What the server's metrics say about its answers, and about their drift."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from helpers.drawn_answers import TAXONOMY, calibrated_bundle, draw
from helpers.serve_client import FakeEngine

from attire.bundle import ModelBundle
from attire.serve.answer_watch import AnswerWatch
from attire.serve.live_bundle import Model
from attire.serve.metrics import Metrics
from attire.serve.settings import Settings


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return calibrated_bundle(tmp_path_factory.mktemp("watched") / "bundle")


class Watched:
    """A watch with a window of 200 products."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.metrics, self.bundle = Metrics(), bundle
        self.watch = AnswerWatch(Settings(bundle=bundle.path, drift_window=200), self.metrics)
        self.model = Model(bundle, FakeEngine(TAXONOMY))

    def ask(self, products: int, seed: int, spread: float = 6) -> None:
        _, category, logits = draw(products, seed, spread)
        for rows in zip(category, logits, strict=True):
            self.watch.add(self.model, *rows)
        self.watch.count().result()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def watched(bundle: ModelBundle) -> Iterator[Watched]:
    watched = Watched(bundle)
    yield watched
    watched.watch.close()


def test_answers_are_counted(watched: Watched, bundle: ModelBundle) -> None:
    watched.ask(130, 1)
    counts = bundle.answer_counts(*draw(130, 1)[1:], 0.95)
    assert watched.value("attire_products_total") == 130
    outcomes = [
        watched.value("attire_fields_total", key="colour", outcome=outcome)
        for outcome in ("filled", "left open", "not applicable")
    ]
    answered = counts.answers[counts.columns["colour"]]
    assert outcomes == [counts.filled[1], answered.sum() - counts.filled[1], 130 - answered.sum()]
    assert counts.filled[1] > 0
    teal = counts.answers[TAXONOMY.column_index["colour", "Teal"]]
    assert watched.value("attire_values_total", key="colour", value="Teal") == teal.sum() > 0
    assert watched.value("attire_confidence_count", key="colour") == answered.sum()
    assert watched.value("attire_confidence_bucket", key="colour", le="0.5") == answered[:, :28].sum()
    assert watched.value("attire_confidence_bucket", key="colour", le="0.9526") == answered[:, :34].sum()
    assert watched.value("attire_products_total") == watched.value("attire_confidence_count", key="category")


def test_a_window_slides_over_the_answers(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.ask(190, 1)
    assert watched.value("attire_drift", key="colour") is None
    watched.ask(10, 2)
    assert watched.value("attire_drift_checks_total") == 1
    assert [watched.value("attire_drift", key=key) for key in ("neck", "colour", "category")] == [0, 0, 0]
    with caplog.at_level(logging.WARNING):
        watched.ask(200, 3, spread=2)
    assert watched.value("attire_drift_checks_total") == 5
    for name in ("attire_drift", "attire_promise_in_doubt"):
        assert [watched.value(name, key=key) for key in ("neck", "colour", "category")] == [1, 1, 0]
    assert "the answers for colour, neck changed beyond chance" in caplog.text
    watched.ask(200, 4)
    assert watched.value("attire_drift", key="colour") == 0


def test_another_bundle_starts_another_window(watched: Watched, bundle: ModelBundle) -> None:
    watched.ask(150, 1, spread=2)
    watched.model = Model(bundle, watched.model.engine)
    watched.ask(190, 2)
    assert watched.value("attire_drift_checks_total") == 0
    watched.ask(10, 3)
    assert watched.value("attire_drift", key="colour") == 0
