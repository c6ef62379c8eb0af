"""The review page over HTTP: access control, refusals, decisions, leases and photos."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers.review_context import make_context

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.cli import app
from attire.errors import ConfigError
from attire.pixels.content_cache import FOLDER
from attire.review.app import open_review, review_app, serve
from attire.review.context import ReviewContext
from attire.review.options import Options
from attire.review.photos import Photos
from attire.review.queues import Filters
from attire.review.security import read_token
from attire.review.seen import Seen
from attire.review.store.claims import viewers
from attire.review.store.events import Store
from attire.taxonomy import CATEGORY

OWN = {"Sec-Fetch-Site": "same-origin"}
HOST = "http://127.0.0.1:8100"
PAGE = {"page": "page-of-ann"}


@pytest.fixture(scope="module")
def opened(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> ReviewContext:
    return make_context(catalog, tmp_path_factory.mktemp("page"))


@pytest.fixture
def context(opened: ReviewContext, tmp_path: Path) -> ReviewContext:
    return replace(opened, store=Store(tmp_path / "review.sqlite"))


def browser(context: ReviewContext, reviewer: str = "Ann", **options: str) -> TestClient:
    client = TestClient(review_app(context, **options), base_url=HOST, follow_redirects=False, headers=OWN)
    if reviewer:
        client.post("/name", data={"name": reviewer})
    return client


@pytest.fixture
def ann(context: ReviewContext) -> Iterator[TestClient]:
    with browser(context) as client:
        yield client


def decide(client: TestClient, **fields: object) -> dict[str, list[dict[str, object]]]:
    verdict = {"product": "p001", "key": "colour", "action": "set", "values": ["red"], "version": 0, **fields}
    answer = client.post("/api/decide", json={"batch": "12345678", "verdicts": [verdict], **PAGE})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_a_name_is_asked_for_once(context: ReviewContext) -> None:
    client = browser(context, reviewer="")
    redirect = client.get("/review?queue=suspect")
    assert (redirect.status_code, redirect.headers["location"]) == (303, "/name?back=/review%3Fqueue%3Dsuspect")
    assert client.post("/api/next", json=PAGE).status_code == 401
    back = client.post("/name", data={"name": "  Zoë  Ö. ", "back": "/review?queue=suspect"})
    assert back.headers["location"] == "/review?queue=suspect"
    assert "Zoë Ö." in client.get("/").text
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example"):
        assert client.post("/name", data={"name": "A", "back": elsewhere}).headers["location"] == "/"
    assert browser(replace(context, reviewer="Cy"), reviewer="").get("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/review", "/review?queue=audit&key=colour&low=0.5", "/grid?queue=suspect", "/audit", "/name"]
)
def test_pages_bring_everything_themselves(ann: TestClient, path: str) -> None:
    page = ann.get(path)
    assert page.status_code == 200
    assert "'unsafe" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for mark in ("http://", "https://", " style=", "<style", " onclick", "<script>"):
        assert mark not in page.text.replace("http://www.w3.org/", ""), mark


def test_other_sites_cannot_act_through_a_browser(context: ReviewContext, ann: TestClient) -> None:
    verdict = {"product": "p001", "key": "colour", "action": "clear", "version": 0}
    body = {"batch": "12345678", "verdicts": [verdict], **PAGE}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}):
        assert ann.post("/api/decide", json=body, headers=headers).status_code == 403
    del ann.headers["Sec-Fetch-Site"]
    assert ann.post("/api/decide", json=body).status_code == 403
    assert ann.post("/api/decide", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert ann.get("/", headers={"Host": "evil.example"}).status_code == 421, "a name that leads to this machine"
    assert not context.store.history()
    assert ann.post("/api/decide", json=body, headers={"Origin": HOST}).status_code == 200


def test_other_machines_need_the_token(context: ReviewContext) -> None:
    client = browser(context, reviewer="", host="0.0.0.0", token="s3cret")
    assert client.get("/").status_code == 401
    assert client.get("/static/review.css").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    let_in = client.get("/review?queue=all&token=s3cret")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/review?queue=all")
    assert client.get("/name", headers={"Host": "shop.example"}).status_code == 200


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, file = "0123456789-._~az", tmp_path / "token"
    file.write_text(f"  {secret}\r\nmore\n")
    assert (read_token("", None), read_token(secret, None)) == ("", secret)
    assert read_token("another-one-for-this", file) == secret
    monkeypatch.setenv("ATTIRE_REVIEW_TOKEN", secret)
    _, bound, _ = app.parse_args(["review", "catalog", "--predictions", "p.parquet"])
    assert bound.arguments["token"] == secret
    for wrong in ("short", "sixteen words in a row", "0123456789abcdé", ";" * 20):
        with pytest.raises(ConfigError, match="at least 16 letters"):
            read_token(wrong, None)
    for content in (b"", b"\n" + secret.encode(), b"short"):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"token in .*at least 16 letters"):
            read_token("", file)
    file.write_bytes(b"\xff")
    for unreadable in (file, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="cannot read the token in"):
            read_token("", unreadable)


def test_an_unavailable_address_is_reported(context: ReviewContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for host, port in (("127.0.0.1", taken.getsockname()[1]), ("127.0.0.1", 99999), ("a..b", 1)):
            with pytest.raises(ConfigError, match=r"cannot listen on .*--port"):
                serve(review_app(context), host, port)


def test_a_decision_that_cannot_be_saved_is_reported(context: ReviewContext, ann: TestClient) -> None:
    with closing(sqlite3.connect(str(context.store.engine.url.database))) as other:
        other.execute("DROP TABLE events")
    verdict = {"product": "p001", "key": "colour", "action": "set", "values": ["red"], "version": 0}
    answer = ann.post("/api/decide", json={"batch": "12345678", "verdicts": [verdict], **PAGE})
    assert (answer.status_code, "review.sqlite cannot be used" in answer.text) == (503, True), answer.text


def test_conflicts_show_what_the_other_decided(context: ReviewContext, ann: TestClient) -> None:
    assert decide(ann)["saved"][0]["version"] == 1
    ben = browser(context, "Ben")
    answer = ben.post(
        "/api/decide",
        json={
            "page": "page-of-ben",
            "batch": "87654321",
            "verdicts": [{"product": "p001", "key": "colour", "action": "set", "values": ["blue"], "version": 0}],
            "card": "p001",
        },
    ).json()
    assert answer["saved"] == []
    assert [(other["reviewer"], other["values"]) for other in answer["conflicts"]] == [("Ann", ["red"])]
    assert "✓</span> Ann" in answer["card"]["html"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"product": "nobody"}, 404, "no product 'nobody'"),
        ({"values": ["reed"]}, 422, "did you mean 'red'"),
        ({"values": ["red", "blue"]}, 422, "takes one value"),
        ({"key": "cut"}, 422, "not one of 2 keys"),
        ({"values": []}, 422, "must be sent with values"),
        ({"action": "clear"}, 422, "must be sent without values"),
        ({"key": CATEGORY, "action": "not applicable", "values": []}, 422, "always applies"),
        ({"action": "delete"}, 422, "not applicable"),
        ({"version": -1}, 422, "greater than or equal"),
    ],
)
def test_verdicts_are_checked(
    context: ReviewContext, ann: TestClient, fields: dict[str, object], status: int, message: str
) -> None:
    verdict = {"product": "p001", "key": "colour", "action": "set", "values": ["red"], "version": 0, **fields}
    answer = ann.post("/api/decide", json={"batch": "12345678", "verdicts": [verdict], **PAGE})
    assert answer.status_code == status
    assert message in answer.text
    assert not context.store.history()


def test_a_category_rules_keys_out_and_undo_brings_them_back(context: ReviewContext, ann: TestClient) -> None:
    shirt = next(p.id for p in context.data.catalog if p.category == "Shirts" and "tags" in p.labels)
    saved = decide(ann, product=shirt, key=CATEGORY, values=["Belts"])["saved"]
    assert {(one["key"], one["state"]) for one in saved} == {(CATEGORY, "known"), ("tags", "not applicable")}
    undone = ann.post("/api/undo", json={**PAGE, "batch": "12345678"}).json()
    assert {decision["state"] for decision in undone["saved"]} == {"open"}
    assert undone["card"]["id"] == shirt


def test_products_come_in_order_and_not_twice(context: ReviewContext, ann: TestClient) -> None:
    request = {"filters": {"queue": "suspect"}, "count": 3, **PAGE}
    first = ann.post("/api/next", json=request).json()
    order = context.queues.of(Filters(queue="suspect"))["product"].unique(maintain_order=True).to_list()
    assert [card["id"] for card in first["cards"]] == order[:3]
    bens = browser(context, "Ben").post("/api/next", json=request).json()
    assert [card["id"] for card in bens["cards"]] == order[3:6]
    more = ann.post("/api/next", json={**request, "last": order[2]}).json()
    assert [card["id"] for card in more["cards"]] == order[6:9]
    assert ann.post("/api/card", json={"id": "nobody", **PAGE}).status_code == 404


def test_a_closed_page_releases_products_that_no_later_page_has(context: ReviewContext, ann: TestClient) -> None:
    first, later = {"page": "first-page"}, {"page": "later-page"}
    request = {"filters": {"queue": "suspect"}, "count": 2}
    mine = [card["id"] for card in ann.post("/api/next", json={**request, **first}).json()["cards"]]
    assert ann.post("/api/card", json={"id": mine[0], **later}).status_code == 200
    assert ann.post("/api/release", json=first).status_code == 204, "the first page is closed late"
    assert viewers(context.store) == {mine[0]: "Ann"}
    ben = browser(context, "Ben")
    assert "Ann has this product open" in ben.post("/api/card", json={"id": mine[0], **PAGE}).json()["html"]
    ann.post("/api/release", json=later)
    assert ben.post("/api/next", json={**request, "page": "page-of-ben"}).json()["cards"][0]["id"] == mine[0]
    ann.post("/api/hold", json={"products": mine, "page": "another-page"})
    assert set(viewers(context.store).values()) == {"Ben"}, "released products belong to another reviewer now"
    assert ann.post("/api/next", json={**request, **later}).json()["cards"], "sent before the release, handled after it"
    assert set(viewers(context.store).values()) == {"Ben"}


def test_photos_are_addressed_by_product_and_number(ann: TestClient, catalog: Catalog) -> None:
    full = ann.get("/photo", params={"product": "p000", "index": 1})
    assert full.content == catalog.photo_paths()[0][1].read_bytes()
    assert full.headers["content-type"] == "image/png"
    assert (
        ann.get("/photo", params={"product": "p000", "index": 0, "small": True}).headers["content-type"] == "image/jpeg"
    )
    for product, index, status in (
        ("p000", 2, 404),
        ("p000", -1, 404),
        ("../taxonomy.toml", 0, 404),
        ("p000", "x", 422),
    ):
        assert ann.get("/photo", params={"product": product, "index": index}).status_code == status
    assert ann.get("/static/../app.py").status_code == 404
    assert ann.get("/static/%2e%2e/app.py").status_code == 404


def test_an_unreadable_photo_is_reported(
    context: ReviewContext, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"no photo")
    paths = [(tmp_path / "gone.jpg",), (tmp_path / "cut.jpg",), *catalog.photo_paths()[2:]]
    monkeypatch.setattr(Catalog, "photo_paths", lambda _: paths)
    client = browser(replace(context, photos=Photos(catalog)))
    for product, reason in (("p000", "not found"), ("p001", "expected one of")):
        for small in (True, False):
            answer = client.get("/photo", params={"product": product, "index": 0, "small": small})
            assert (answer.status_code, reason in answer.text) == (404, True), answer.text


def test_heat_maps_need_a_bundle(context: ReviewContext, ann: TestClient, untrained: ModelBundle) -> None:
    request: dict[str, str | int] = {"product": "p001", "index": 0, "key": "colour", "value": "red"}
    assert "--bundle" in ann.get("/heat", params=request).text
    pytest.importorskip("torchcam")
    with_bundle = browser(replace(context, photos=Photos(context.data.catalog, untrained.path)))
    assert with_bundle.get("/heat", params=request).headers["content-type"] == "image/jpeg"
    assert with_bundle.get("/heat", params={**request, "key": CATEGORY, "value": "Belts"}).status_code == 200
    wrong = with_bundle.get("/heat", params={**request, "value": "reed"})
    assert (wrong.status_code, "did you mean 'red'" in wrong.text) == (422, True)


def test_similar_products_need_a_bundle_that_has_seen_the_photos(
    context: ReviewContext,
    ann: TestClient,
    untrained: ModelBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    catalog, request = context.data.catalog, {"product": "p001", "key": "colour"}
    without = ann.get("/seen", params=request)
    assert (without.status_code, "--bundle" in without.text) == (404, True)
    not_yet = browser(replace(context, seen=Seen(catalog, untrained)))
    assert "--embed" in not_yet.get("/seen", params=request).text
    seen = Seen(catalog, untrained, embed=True)
    client = browser(replace(context, seen=seen))
    neighbours, opinion = seen.like("p001", "colour", context.store.held)
    page = client.get("/seen", params=request).text
    assert (opinion in page, page.count("<img"), len(neighbours)) == (True, 5, 5)
    for neighbour in neighbours:
        assert f"/photo?product={neighbour.id}&amp;index={neighbour.photo}" in page
        assert neighbour.values == catalog[neighbour.id].labels["colour"]
    other = next(value for value in ("red", "blue") if (value,) != neighbours[0].values)
    decide(client, product=neighbours[0].id, values=[other])
    assert seen.like("p001", "colour", context.store.held)[0][0].values == (other,), "what reviewers decided counts"
    wrong = client.get("/seen", params={**request, "key": "color"})
    assert (wrong.status_code, "did you mean 'colour'" in wrong.text) == (422, True)
    assert client.get("/seen", params={**request, "product": "p9"}).status_code == 404


def test_embedding_needs_a_bundle(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="add --bundle"):
        open_review(catalog.path, Options(predictions=tmp_path / "p.parquet", embed=True))


def test_user_text_is_escaped(context: ReviewContext) -> None:
    client = browser(context, "<b>Ann</b>")
    assert "&lt;b&gt;Ann" in client.get("/").text
    assert "<b>Ann" not in client.get("/").text
