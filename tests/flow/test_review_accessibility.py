"""Checks every page with axe-core: in light and dark, as wide as a laptop and as a phone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.browser import chromium
from helpers.review_context import write_predictions
from helpers.serve_client import FakeEngine, photo, served
from playwright.sync_api import Browser, FilePayload, Page, expect

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.evaluation.evaluate import evaluate
from attire.review.app import open_review, review_app
from attire.review.options import Options
from attire.review.queues import Filters
from attire.review.store.events import Verdict
from attire.serve.app import create_app
from attire.serve.live_bundle import Model
from attire.serve.settings import Settings

AXE = Axe()
WIDTHS = (390, 1280)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


def audit(page: Page) -> None:
    """Assert that axe-core finds no violation at either width in either colour scheme."""
    violations = []
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        for violation in AXE.run(page, options=RULES).response["violations"]:
            nodes = [f"{node['html'][:160]}: {node['failureSummary']}" for node in violation["nodes"][:3]]
            violations.append(f"{width} px, {scheme}: {violation['id']} ({violation['impact']}): {nodes}")
    assert not violations, "\n".join(violations)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(reduced_motion="reduce")
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


def test_reviewing(page: Page, catalog: Catalog, tmp_path: Path) -> None:
    predictions = write_predictions(catalog, tmp_path / "p.parquet")
    context = open_review(
        catalog.path,
        Options(predictions=predictions, store=str(tmp_path / "s.sqlite"), reviewer="Ann", audit=40),
    )
    sample = context.queues.sample().select("product", "key", "answer").head(30).rows()
    context.store.decide(
        "Ben", [Verdict(product, key, "accept", tuple(answer.split("|")), 0) for product, key, answer in sample]
    )
    with served(review_app(context)) as address:
        for path in ("/name", "/", "/audit", "/grid?queue=all&text=nonesuch"):
            page.goto(address + path)
            audit(page)
        page.goto(f"{address}/review?queue=suspect&key=colour")
        expect(page.locator(".field[aria-current=true]")).to_be_visible()
        page.locator("summary").click()
        product = page.locator("article.card").get_attribute("data-product") or ""
        context.store.decide("Ben", [Verdict(product, "colour", "set", ("red",), 0)])
        page.keyboard.press("1")  # which is not the feed's red
        expect(page.locator(".conflict")).to_be_visible()
        audit(page)
        for key in ("?", "/"):
            page.keyboard.press(key)
            expect(page.get_by_role("dialog")).to_be_visible()
            audit(page)
            page.keyboard.press("Escape")
        page.goto(f"{address}/grid?queue=all&key=colour")
        context.store.decide(
            "Ben", [Verdict(product, "colour", "set", ("red",), 0) for product in context.data.products[:3]]
        )
        page.locator("[data-select]").first.click()
        page.keyboard.press("Enter")
        page.locator("[data-select]").last.click()
        expect(page.locator("#alert")).to_contain_text("decided by others")
        audit(page)
        page.goto(f"{address}/review?queue={Filters().queue}&text=nonesuch")
        expect(page.locator(".empty")).to_be_visible()
        audit(page)


def upload(content: bytes) -> FilePayload:
    return {"name": "p.png", "mimeType": "image/png", "buffer": content}


def test_trying_a_photo(page: Page, untrained: ModelBundle) -> None:
    model = Model(untrained, FakeEngine(untrained.taxonomy))
    with served(create_app(Settings(bundle=untrained.path), load=lambda _: model)) as address:
        page.goto(address)
        page.locator("summary").click()
        audit(page)
        red, damaged = upload(photo()), upload(b"no photo")
        page.set_input_files("#file", [red, red, damaged])
        expect(page.locator("#status")).to_contain_text("was left out")
        audit(page)
        page.set_input_files("#file", [damaged])
        expect(page.locator("#problem")).to_be_visible()
        audit(page)


def test_reading_a_report(page: Page, catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path) -> None:
    evaluate(untrained, catalog, splits.val, out=tmp_path / "report")
    page.goto((tmp_path / "report" / "report.html").as_uri())
    audit(page)
