"""The button Learn in a real browser, followed by a second reviewer, and checked with axe-core in each state."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.browser import chromium
from helpers.review_context import write_predictions
from helpers.serve_client import served
from playwright.sync_api import Page, expect

from attire.bundle import SPEC, ModelBundle
from attire.catalog.store import Catalog
from attire.files import locked
from attire.review.app import open_review, review_app
from attire.review.learn_status import LOCK, Change, LearnStatus, Outcome, write_status
from attire.review.learner import Learner
from attire.review.options import Options
from attire.review.store.events import Verdict

AXE = Axe()
RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


def check(page: Page) -> None:
    """No violation, and nothing wider than the page, on a laptop and on a phone, in light and dark."""
    for width, scheme in itertools.product((390, 1366), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.evaluate("scrollTo(0, 0)")  # links that are half below the header count as small
        violations = AXE.run(page, options=RULES).response["violations"]
        assert not violations, [
            (width, scheme, violation["id"], [node["html"] for node in violation["nodes"]]) for violation in violations
        ]
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def outcome_of(bundle: Path, predictions: Path) -> Outcome:
    better = Change(name="attribute_iou", before=0.81, after=0.83, low=0.01, high=0.03, better="after")
    unsure = Change(name="coverage_95", before=0.7, after=0.71, low=-0.01, high=0.03)
    worse = Change(name="colour", before=0.9, after=0.8, low=-0.15, high=-0.05, better="before", labels=40)
    return Outcome(
        bundle=str(bundle),
        digest="d",
        predictions=str(predictions),
        version=2,
        learned=1,
        checks=0,
        sampled=0,
        seconds=48.2,
        products=27,
        figures=(better, unsure),
        keys=(worse,),
    )


def test_learning(catalog: Catalog, untrained: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(catalog.path, tmp_path / "catalog")
    shutil.copytree(catalog.path.parent / "photos", tmp_path / "photos")
    here, bundle = tmp_path / "catalog", shutil.copytree(untrained.path, tmp_path / "bundle")
    learned = shutil.copytree(bundle, tmp_path / "learned")
    spec = (learned / SPEC).read_text().replace(untrained.spec.created, "2031-01-01T00:00:00")
    (learned / SPEC).write_text(spec)  # another digest
    predictions = write_predictions(catalog, tmp_path / "p.parquet")
    context = open_review(here, Options(predictions=predictions, bundle=bundle, reviewer="Ann", audit=5))

    def waits(_: Learner) -> Iterator[str]:
        yield from (sys.executable, "-c", "input()")

    monkeypatch.setattr(Learner, "_command", waits)
    context.store.decide("Ann", [Verdict(catalog.ids[0], "colour", "set", ("red",), 0)])
    with chromium() as browser, served(review_app(context)) as address:
        ann, ben = browser.new_page(), browser.new_page()
        for page in (ann, ben):
            page.set_default_timeout(30_000)
            page.goto(address)
        expect(ann.get_by_text("1 decision is not learned yet.")).to_be_visible()
        check(ann)
        began = datetime.now(UTC)
        with locked(here / LOCK):
            status = LearnStatus(
                state="running", began=began, start=untrained.digest, step="fold 1 of 3", done=1, total=4
            )
            write_status(here, status)
            ann.get_by_role("button", name="Learn").click()
            expect(ann.locator("#alert")).to_contain_text("already under way")
            ben.reload()
            expect(ben.get_by_role("progressbar", name="fold 1 of 3")).to_be_visible()
            check(ben)
            ann.goto(f"{address}/review?queue=all")  # the page stays usable
            expect(ann.locator(".field[aria-current=true]")).to_be_visible()
            ann.keyboard.press("Enter")
            expect(ann.locator("#saved")).to_have_class("saved good")
            new = write_predictions(catalog, tmp_path / "new.parquet", catalog.ids[:40])
            finished = status.model_copy(update={"state": "finished", "outcome": outcome_of(learned, new)})
            write_status(here, finished)
            expect(ben.get_by_role("row", name="attribute IoU")).to_contain_text("+1.0 to +3.0")
            expect(ben.get_by_role("row", name="IoU of colour")).to_contain_text("worse")
            expect(ben.locator("#live")).to_have_text("Learning is finished.")
            check(ben)
        ben.get_by_role("button", name="Go on with the new predictions").click()
        expect(ben.get_by_text("40 products with predictions")).to_be_visible()
        assert context.store.held()
        expect(ben.locator("#learn")).to_contain_text("2 decisions are not learned yet.")
        start = ModelBundle.load(learned).digest
        failed = {"state": "failed", "error": "no space.", "began": datetime.now(UTC), "start": start}
        write_status(here, status.model_copy(update=failed))
        ben.reload()
        expect(ben.get_by_text("Learning failed: no space.")).to_be_visible()
        check(ben)
