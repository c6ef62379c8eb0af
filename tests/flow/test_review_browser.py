"""The review page in a real browser: twenty products by keyboard, undo, bulk actions, two reviewers, export, ingest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import chromium
from helpers.review_context import write_predictions
from helpers.serve_client import served, until
from playwright.sync_api import Browser, Page, Route, expect

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.cli import app
from attire.review.app import open_review, review_app
from attire.review.context import ReviewContext
from attire.review.export import export
from attire.review.options import Options
from attire.review.queues import Filters, waiting
from attire.review.store.claims import viewers
from attire.review.store.events import Verdict
from attire.taxonomy import CATEGORY

NAMES = {1280: "Ann", 390: "Ben"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def context(catalog: Catalog, untrained: ModelBundle, tmp_path: Path) -> ReviewContext:
    predictions = write_predictions(catalog, tmp_path / "p.parquet")
    return open_review(
        catalog.path,
        Options(predictions=predictions, bundle=untrained.path, store=str(tmp_path / "review.sqlite"), audit=30),
    )


@pytest.fixture
def address(context: ReviewContext) -> Iterator[str]:
    with served(review_app(context)) as found:
        yield found


class Person:
    """A reviewer with a browser of the given width. `leave` fails for console errors and requests to other servers."""

    def __init__(self, browser: Browser, address: str, width: int) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, base_url=address)
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "request", lambda request: None if request.url.startswith(address) else self.faults.append(request.url)
        )
        self.page.goto("/")
        self.page.get_by_label("Name").fill(NAMES[width])
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("link", name=f"Reviewer: {NAMES[width]}")).to_be_visible()

    def open(self, path: str) -> Page:
        self.page.goto(path)
        expect(self.page.locator("[aria-current=true], .cell, .empty").first).to_be_visible()
        return self.page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def product(self) -> str:
        return self.page.locator("article.card").get_attribute("data-product") or ""

    @property
    def field(self) -> str:
        return self.page.locator(".field[aria-current=true]").get_attribute("data-key") or ""

    def settled(self) -> None:
        """Wait until everything is saved."""
        expect(self.page.locator("#saved")).to_have_class(re.compile("good"))

    def leave(self) -> None:
        self.context.close()
        assert not self.faults


@pytest.fixture
def ann(browser: Browser, address: str) -> Iterator[Person]:
    person = Person(browser, address, 1280)
    yield person
    person.leave()


@pytest.fixture
def ben(browser: Browser, address: str) -> Iterator[Person]:
    person = Person(browser, address, 390)
    yield person
    person.leave()


def test_twenty_products_by_keyboard_then_export_and_ingest(
    ann: Person, context: ReviewContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ann.open("/review?queue=all")
    first = ann.product
    for number in range(20):
        assert ann.product == context.data.products[number]
        assert ann.field == CATEGORY
        expect(page.locator(".stage img")).to_have_js_property("complete", True)
        ann.press("a")  # suspect, open and sampled fields remain
        for _ in range(page.locator(".field[data-wanted=yes][data-decided='']").count()):
            status = page.locator(".field[aria-current=true]").get_attribute("class") or ""
            ann.press("Enter" if "sure" in status else "2")
        ann.press("j")
        expect(page.locator("article.card")).to_have_attribute("data-product", context.data.products[number + 1])
    ann.settled()
    decisions = context.store.held()
    judged = set(context.data.products[:20])
    assert {product for product, _ in decisions} == judged
    assert waiting(context.queues, context.store, Filters(queue="all"))["product"][0] == context.data.products[20]
    assert {decision.reviewer for decision in decisions.values()} == {"Ann"}
    ann.press("k")
    expect(page.locator("article.card")).to_have_attribute("data-product", context.data.products[19])
    expect(page.locator(".field[data-decided='']")).to_have_count(0)
    assert first == context.data.products[0]
    changed = {
        field: decision.values
        for field, decision in decisions.items()
        if decision.action == "set" and field[1] == "colour"
    }
    assert changed
    monkeypatch.chdir(tmp_path)
    app(
        ["review", "export", str(context.data.catalog.path), "--out", "out", "--store", "review.sqlite"],
        result_action="return_value",
    )
    command = export(context.data.catalog, context.store, tmp_path / "out").command.replace("NEW_CATALOG", "new")
    app(shlex.split(command)[1:], result_action="return_value")
    new = Catalog.load(tmp_path / "new")
    assert new.ids == context.data.catalog.ids
    for (product, key), values in changed.items():
        assert new[product].labels[key] == values


def test_one_product_with_every_key(ann: Person, context: ReviewContext) -> None:
    product, _ = context.queues.of(Filters(queue="suspect", key="colour", category="Shirts")).row(0)
    page = ann.open(f"/review?queue=all#p={product}")

    def decision(key: str = "colour") -> tuple[str, tuple[str, ...]]:
        ann.settled()
        current = context.store.held([product]).get((product, key))
        return (current.state, current.values) if current else ("open", ())

    ann.press("ArrowDown")
    assert ann.field == "colour"
    ann.press("2")
    expect(page.locator("#live")).to_have_text(re.compile("colour: .*saved"))
    assert decision() == ("known", context.data.catalog[product].labels["colour"])
    ann.press("u")
    expect(page.locator("#live")).to_have_text("Undone: colour.")
    assert decision()[0] == "open"
    assert ann.field == "colour", "where the undone decision was"
    ann.press("/")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("gre")
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_text(["green"])
    ann.press("Enter")
    expect(page.locator("#live")).to_have_text(re.compile("colour: green, saved"))
    assert decision() == ("known", ("green",))
    ann.press("ArrowUp", "ArrowDown") if ann.field == "colour" else ann.press("ArrowUp")
    assert ann.field == "colour"
    ann.press("x")
    expect(page.locator("#live")).to_have_text(re.compile("not applicable, saved"))
    assert decision() == ("not applicable", ())
    page.locator(".field", has_text="tags").locator(".line").click()  # the middle may be a button
    options = page.locator(".field[aria-current=true] .options button")
    options.filter(has_text="zip").click()
    ann.settled()
    before = set(decision("tags")[1])
    ann.press("1")
    expect(page.locator("#live")).to_have_text(re.compile("^tags: "))
    assert set(decision("tags")[1]) ^ before, "a digit adds or removes a value of a key that takes several"
    ann.press("c")
    expect(page.locator("#live")).to_have_text(re.compile("tags: cleared, saved"))
    assert decision("tags") == ("unknown", ())
    ann.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.get_by_label("Use single-key shortcuts").uncheck()
    ann.press("Escape", "u")
    assert decision("tags") == ("unknown", ()), "single-key shortcuts are off"
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#live")).to_have_text("Undone: tags.")
    page.get_by_role("button", name="Heat map").click()
    expect(page.locator(".stage img")).to_have_attribute("src", re.compile("^/heat"))
    expect(page.locator(".stage img")).to_have_js_property("complete", True)
    assert page.locator(".stage img").evaluate("image => image.naturalWidth") > 0
    page.get_by_role("button", name="Zoom").click()
    expect(page.locator(".stage img")).to_have_css("transform", "matrix(2.5, 0, 0, 2.5, 0, 0)")


def test_two_people_at_once(ann: Person, ben: Person, context: ReviewContext) -> None:
    ann.open("/review?queue=suspect")
    ben.open("/review?queue=suspect")
    assert ann.product != ben.product, "each is given another product"
    product = ann.product
    page = ben.open(f"/review?queue=suspect&key=colour#p={product}")
    page.reload()
    expect(page.get_by_text("Ann has this product open.")).to_be_visible()
    while ann.field != "colour":
        ann.press("ArrowDown")
    ann.press("1")
    ann.settled()
    ben.press("2")
    expect(page.locator(".conflict")).to_contain_text(
        re.compile(r"Ann chose .* just now. Your decision \(.*\) is not saved")
    )
    anns = context.store.held()[product, "colour"]
    assert (anns.reviewer, anns.version) == ("Ann", 1), "nothing was overwritten"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ben.press("m")
    expect(page.locator(".conflict")).to_have_count(0)
    ben.settled()
    bens = context.store.held()[product, "colour"]
    assert (bens.reviewer, bens.version) == ("Ben", 2)
    assert bens.values != anns.values
    ann.press("u")
    expect(ann.page.locator("#live")).to_have_text("Nothing to undo.")
    ben.press("u")
    expect(page.locator("#live")).to_have_text("Undone: colour.")
    assert context.store.held()[product, "colour"].values == anns.values


def test_the_product_of_a_closed_tab_goes_to_the_next_reviewer(
    ann: Person, ben: Person, context: ReviewContext
) -> None:
    ann.open("/review?queue=suspect")
    product = ann.product
    assert viewers(context.store)[product] == "Ann"
    ann.press("Enter", "u")
    expect(ann.page.locator("#live")).to_have_text(re.compile("^Undone"))
    ann.page.reload()
    expect(ann.page.locator("article.card")).to_have_attribute("data-product", product)
    ann.press("g")
    expect(ann.page.locator(".cell").first).to_be_focused()  # its script runs, so it will release its products
    ann.page.go_back()
    expect(ann.page.locator("article.card")).to_have_attribute("data-product", product)
    assert viewers(context.store)[product] == "Ann", "closed pages do not release what a later page has"
    ben.open("/review?queue=suspect")
    assert ben.product != product
    ben.page.goto("/")
    ann.page.close()
    until(lambda: not viewers(context.store))  # one released by leaving the page, one by closing the tab
    ben.open("/review?queue=suspect")
    assert ben.product == product


def test_a_person_with_two_tabs(ann: Person, context: ReviewContext) -> None:
    page = ann.open("/review?queue=suspect")
    second = ann.context.new_page()
    second.goto("/review?queue=suspect")
    expect(second.locator("article.card")).to_have_attribute("data-product", ann.product)
    second.close()
    until(lambda: bool(context.closed_pages))  # the second tab had the lease of the product that both show
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: ann.product in viewers(context.store))  # the first tab leases it again when it becomes visible


def test_many_products_at_once(ann: Person, ben: Person, context: ReviewContext) -> None:
    page = ann.open("/grid?queue=all&key=colour")
    cells = page.locator(".cell")
    shown = cells.count()
    assert shown == 48
    drawn, left = cells.first.text_content() or "", page.locator("#left").text_content() or ""
    page.keyboard.press("Space")
    ann.press("ArrowRight", "ArrowRight", "Shift+Space")
    expect(page.locator("#selected")).to_have_text("3 selected")
    products = [cells.nth(n).get_attribute("data-product") or "" for n in range(3)]
    context.store.decide("Ben", [Verdict(products[2], "colour", "set", ("red",), 0)])
    ann.press("/")
    page.keyboard.type("blu")
    ann.press("Enter")
    expect(page.locator("#alert")).to_have_text(re.compile("1 of 3 were decided by others"))
    decisions = context.store.held()
    assert [decisions[product, "colour"].values for product in products] == [("blue",), ("blue",), ("red",)]
    expect(page.locator(".conflicted")).to_contain_text("Ben")
    ann.press("u")
    expect(page.locator("#live")).to_have_text("2 undone.")
    assert context.store.decided().rows() == [(products[2], "colour")]
    expect(cells.first).to_have_text(drawn)
    expect(page.locator("#left")).to_have_text(str(int(left) - 1))
    page.locator("[data-select]").first.click()
    marked = page.locator(".cell.selected").count()
    ann.press("Enter")
    expect(page.locator("#live")).to_have_text(f"{marked} saved.")
    assert len(context.store.decided()) == marked + 1
    ann.press("?")
    shortcuts = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(shortcuts).to_contain_text("cclear: the value cannot be determined")
    ann.press("Escape", "Space", "ArrowRight", "Space", "c")
    expect(page.locator("#live")).to_have_text("2 saved.")
    cleared = [decision for decision in context.store.held().values() if decision.state == "unknown"]
    assert len(cleared) == 2
    expect(page.locator(".cell .value", has_text="cleared")).to_have_count(2)
    ann.press("u")
    expect(page.locator("#live")).to_have_text("2 undone.")
    others = ben.open("/grid?queue=all&key=colour")
    taken = {cells.nth(n).get_attribute("data-product") for n in range(shown)}
    bens = {
        others.locator(".cell").nth(n).get_attribute("data-product") for n in range(others.locator(".cell").count())
    }
    assert bens
    assert not bens & taken


def test_what_is_typed_before_the_values_are_there(ann: Person, context: ReviewContext) -> None:
    """The search opens at once, so that no key pressed after it is taken for a shortcut (u would undo)."""
    waiting: list[Route] = []
    ann.page.route("**/words.json", lambda route: waiting.append(route))
    page = ann.open("/grid?queue=all&key=colour")
    ann.press("/")
    page.keyboard.type("blu")
    ann.press("Enter")
    expect(page.locator("#search")).to_be_visible()
    until(lambda: bool(waiting))
    waiting[0].continue_()
    expect(page.locator("#live")).to_have_text("1 saved.")
    (decision,) = context.store.held().values()
    assert (decision.action, decision.values) == ("set", ("blue",))


def test_a_lost_connection_is_shown_and_retried(ann: Person, context: ReviewContext) -> None:
    page = ann.open("/review?queue=all")
    ann.context.set_offline(True)
    ann.press("Enter")
    expect(page.locator("#saved")).to_have_text(re.compile("not saved"))
    assert not context.store.history()
    ann.context.set_offline(False)
    ann.settled()
    assert len(context.store.history()) == 1
    ann.faults = [fault for fault in ann.faults if "ERR_INTERNET_DISCONNECTED" not in fault]


def test_a_field_that_could_not_be_saved_is_restored(ann: Person, context: ReviewContext) -> None:
    page = ann.open("/review?queue=suspect&key=colour")
    shown = page.locator(".field[aria-current=true]")
    expect(shown.locator(".seen")).not_to_be_empty()  # it is loaded a moment later
    before = shown.inner_text()
    page.route("**/api/decide", lambda route: route.fulfill(status=503, body="the store is full."))
    ann.press("c")
    expect(page.locator("#saved")).to_have_text("Not saved: the store is full.")
    expect(page.locator(".saving")).to_have_count(0)
    expect(page.locator(".field[data-key=colour]")).to_have_text(before, use_inner_text=True)
    assert not context.store.history()
    page.unroute("**/api/decide")
    ann.press("Enter")
    ann.settled()
    assert len(context.store.history()) == 1
    ann.faults.clear()  # the browser logs the 503


def test_a_missing_photo(ann: Person, context: ReviewContext, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = context.photos._paths
    monkeypatch.setitem(paths, "p000", tuple(path.with_name("gone.png") for path in paths["p000"]))
    page = ann.open("/review?queue=all#p=p000")
    page.reload()
    expect(page.locator(".stage")).to_contain_text("The photo cannot be read: not found.")
    ann.press("Enter")
    ann.settled()
    assert ann.faults, "the browser logs the 404"
    ann.faults.clear()


def test_no_page_is_wider_than_the_screen(ann: Person, context: ReviewContext) -> None:
    rows = context.queues.sample().select("product", "key", "answer").rows()
    context.store.decide(
        "Ann", [Verdict(product, key, "accept", tuple(answer.split("|")), 0) for product, key, answer in rows]
    )
    ann.page.goto("/name")
    ann.page.get_by_label("Name").fill("Annabel Featherstonehaugh-Cholmondeley")
    ann.press("Enter")
    expect(ann.page.get_by_role("link", name="Reviewer: Annabel")).to_be_visible()
    for path in ("/", "/audit", "/name", "/review?queue=suspect", "/grid?queue=suspect", "/review?queue=audit"):
        ann.page.goto(path)
        for width in (1280, 390):
            ann.page.set_viewport_size({"width": width, "height": 800})
            assert ann.page.evaluate("document.documentElement.scrollWidth") <= width, path
    expect(ann.page.get_by_role("heading", name="Nothing left here")).to_be_focused()
