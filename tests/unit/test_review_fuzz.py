"""Fuzzes every route, field and header of the review page: each request is answered, or refused with a sentence."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import math
from collections.abc import Iterator, MutableMapping
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from helpers.review_context import make_context

from attire.catalog.store import Catalog
from attire.review.api import actions
from attire.review.app import review_app
from attire.review.bodies import MAX_BYTES, Bodies
from attire.review.context import ReviewContext
from attire.review.learning import learning
from attire.review.pages import pages
from attire.review.store.claims import viewers

HOST = "http://127.0.0.1:8100"
FILTERS = {"queue": "suspect", "category": "", "key": "", "value": "", "low": 0.0, "high": 1.0, "text": ""}
VERDICT = {"product": "p001", "key": "colour", "action": "set", "values": ["red"], "version": 0}
PAGE = {"page": "page-of-ann"}
BODIES: dict[str, dict[str, Any]] = {
    "/api/next": {**PAGE, "filters": FILTERS, "last": "", "count": 1},
    "/api/card": {**PAGE, "id": "p001"},  # filters are the same as above, here and below
    "/api/hold": {**PAGE, "products": ["p001"]},
    "/api/release": PAGE,
    "/api/decide": {**PAGE, "batch": "12345678", "verdicts": [VERDICT], "card": "p001"},
    "/api/undo": {**PAGE, "batch": "12345678"},
}
QUERIES: dict[str, dict[str, str]] = {
    "/": {},
    "/review": {name: str(value) for name, value in FILTERS.items()},
    "/grid": {"key": "", "last": ""},  # filters are the same as above
    "/audit": {},
    "/name": {"back": "/"},
    "/photo": {"product": "p001", "index": "0", "small": "true"},
    "/heat": {"product": "p001", "index": "0", "key": "colour", "value": "red"},
    "/seen": {"product": "p001", "key": "colour"},
    "/words.json": {},
    "/api/learn": {},
    "/api/learn/continue": {},
}
WORDS = [
    *("", "nope", "a/b", "../x", "%", "\0", "\u202e", "é\U0001f600", "'\"<b>", "{{ 7 * 7 }}", "[]", "x" * 5000),
    *("-1", "1.5", "1e309", "nan", "inf", "true", "9" * 40, "9" * 5000, "@category"),
]
UNDECODABLE = ["%ff%fe", "%ed%a0%80", "%"]  # not UTF-8
VALUES: list[Any] = [
    *(None, True, -1, 0, 1.5, 2**31, 2**63 - 2, 2**63, 10**40, math.nan, math.inf),
    *("", "nope", "\0", "\0" * 20, "\ud800", "\ud800" * 20, "x" * 100_000, "a/b", "@category", "{{ 7 * 7 }}"),
    *([], {}, [[]], ["\ud800"], ["\0"], [1], ["x"] * 600, ["red", "red"], {"a": 1}, {"\ud800": 1}),
]
DOCUMENTS = [
    *(b"", b"null", b"[]", b"{", b"NaN", b"\xff\xfe", b'"\\ud800"', b'{"page": "\xff"}', b'{"\\ud800": 1}'),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"[1," * 1000, b"9" * 5000, b'{"page": ' + b"9" * 5000 + b"}"),
    json.dumps(PAGE).encode("utf-16"),
]
TYPES = [
    *(b"", b"text/plain", b"\xff", b"application/json; charset=nope", b"application/json;" * 500),
    *(b"application/x-www-form-urlencoded", b"multipart/form-data", b"multipart/form-data; boundary=x"),
]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def context(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> ReviewContext:
    return make_context(catalog, tmp_path_factory.mktemp("fuzz"))


def browser(context: ReviewContext, **options: str) -> TestClient:
    """A client whose server answers 500 if a route fails."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    app = review_app(context, **options)
    return TestClient(app, HOST, raise_server_exceptions=False, follow_redirects=False, headers=headers)


@pytest.fixture(scope="module")
def ann(context: ReviewContext) -> Iterator[TestClient]:
    with browser(context) as client:
        client.post("/name", data={"name": "Ann"})
        yield client


def assert_handled(answer: Any) -> None:
    """Assert that the request was answered, or refused with a sentence in plain text."""
    request = answer.request
    assert answer.status_code < 500, (request.method, request.url, request.headers, request.read()[:200])
    if answer.status_code >= 400 and request.method != "HEAD":
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text


def paths(value: Any, *parents: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value in a JSON document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*parents, name)
        yield from paths(child, *parents, name)


def replaced(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of the document with another value at `path`."""
    result: Any = copy.deepcopy(document)
    parent = result
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    return result  # type: ignore[no-any-return]


def test_every_route_is_fuzzed() -> None:
    routes = {route.path for route in (*pages.routes, *actions.routes, *learning.routes) if isinstance(route, APIRoute)}
    assert routes == {*QUERIES, *BODIES}


@pytest.mark.parametrize("path", QUERIES)
def test_any_query_and_method(ann: TestClient, path: str) -> None:
    valid = QUERIES[path]
    for name, word in itertools.product((*valid, "other"), (*map(quote, WORDS), *UNDECODABLE)):
        others = "&".join(f"{other}={value}" for other, value in valid.items() if other != name)
        assert_handled(ann.get(f"{path}?{name}={word}&{others}"))
    for method in ("HEAD", "PUT", "OPTIONS", "POST", "NOPE"):
        assert_handled(ann.request(method, path))
    assert_handled(ann.get(f"{path}?{'a=1&' * 3000}"))


@pytest.mark.parametrize("path", BODIES)
def test_any_value_in_any_field(ann: TestClient, path: str) -> None:
    assert ann.post(path, json=BODIES[path]).status_code < 300
    for field, value in itertools.product(paths(BODIES[path]), VALUES):
        assert_handled(ann.post(path, content=json.dumps(replaced(BODIES[path], field, value)), headers=JSON))
    unknown = {**BODIES[path], "\ud800": 1}
    assert ann.post(path, content=json.dumps(unknown), headers=JSON).status_code == 422


@pytest.mark.parametrize("path", [*BODIES, "/name"])
def test_any_body_of_any_type(ann: TestClient, path: str) -> None:
    valid = json.dumps(BODIES.get(path, {})).encode()
    cases = (*itertools.product(DOCUMENTS, (b"application/json", b"text/plain")), *((valid, kind) for kind in TYPES))
    for body, kind in cases:
        assert_handled(ann.post(path, content=body, headers=[(b"Content-Type", kind)]))
    assert_handled(ann.get(path))


def test_any_form(ann: TestClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (
        b"name=%ff",
        b"name=%00",
        b"name=a&back=%00",
        b"name=" + b"x" * 100_000,
        b"&" * 100_000,
        b"name=a&name=b",
    ):
        assert_handled(ann.post("/name", content=body, headers=form))
    parts = {"Content-Type": "multipart/form-data; boundary=x"}
    for disposition, content in ((b'; filename="a"', b"x"), (b"", b"\xff\xfe"), (b'; filename="\xff"', b"")):
        part = (
            b'--x\r\nContent-Disposition: form-data; name="name"' + disposition + b"\r\n\r\n" + content + b"\r\n--x--"
        )
        assert_handled(ann.post("/name", content=part, headers=parts))
    ann.post("/name", data={"name": "Ann"})


@pytest.mark.parametrize(
    "host", ["[", "]", "[::1", "127.0.0.1:x", "", "a b", "\xff", "127.0.0.1:99999999", "x@127.0.0.1"]
)
def test_any_host_and_origin(context: ReviewContext, ann: TestClient, host: str) -> None:
    outside = browser(context, host="0.0.0.0", token="s3cret")
    outside.cookies.set("attire-token", "s3cret")
    for client in (ann, outside):
        for path in ("/", "/static/review.css", "/review", "/?token=s3cret"):
            assert_handled(client.get(path, headers=[(b"Host", host.encode("latin-1"))]))
    headers = [(b"Origin", f"http://{host}".encode("latin-1")), (b"Sec-Fetch-Site", b"")]
    assert ann.post("/api/release", json=PAGE, headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["", "%00", "%ff", "\xff", "%ed%a0%80", "x" * 9000, "%e2%80%ae"])
def test_any_cookie(context: ReviewContext, name: str) -> None:
    client = browser(context)
    headers = [(b"Cookie", f"attire-reviewer={name}; attire-token={name}; =;;".encode("latin-1"))]
    for path in ("/", "/review", "/grid", "/audit"):
        assert_handled(client.get(path, headers=headers))
    for path, body in BODIES.items():
        assert_handled(client.post(path, json=body, headers=headers))


def test_any_path(ann: TestClient) -> None:
    for path in (
        "/static/%00",
        "/static/" + "x" * 5000,
        "/static/%ff",
        "/static/..%2fapp.py",
        "/static/",
        "//static/x",
    ):
        assert ann.get(HOST + path).status_code == 404
    for path in ("/%00", "/%ff", "/a%2fb", "/api", "/api/", "/api/decide/x", "//", "/.."):
        assert_handled(ann.get(HOST + path))


def test_no_link_with_the_token_leads_to_another_site(context: ReviewContext) -> None:
    client = browser(context, host="0.0.0.0", token="s3cret")
    for path in ("//evil.example/", "///evil.example/", "/\\evil.example/", "/%2fevil.example/", "/%5cevil.example"):
        answer = client.get(f"{HOST}{path}?token=s3cret&a=1", headers={"Host": "shop.example"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1"), path
        client.cookies.clear()
    assert client.get("/review?token=%ff").status_code == 401


def test_a_large_body_is_refused(ann: TestClient) -> None:
    for path in (*BODIES, "/name", "/review"):
        answer = ann.post(path, content=b" " * (MAX_BYTES + 1), headers=JSON)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert f"at most {MAX_BYTES:,} bytes" in answer.text
    largest = json.dumps({**BODIES["/api/decide"], "verdicts": [{**VERDICT, "product": "x" * 1000}] * 500})
    assert ann.post("/api/decide", content=largest, headers=JSON).status_code == 404, "the largest valid body is read"


@pytest.mark.parametrize(("pause_s", "status"), [(0, 413), (60, 408)])
def test_an_endless_body_is_refused(pause_s: float, status: int) -> None:
    arrived, answered = [], []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause_s)
        arrived.append(1 << 16)
        return {"type": "http.request", "body": b" " * (1 << 16), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        answered.append(message)

    async def never(*_: object) -> None:
        pytest.fail("the application was called")

    asyncio.run(Bodies(never, timeout_s=0.1)({"type": "http", "headers": []}, receive, send))
    assert answered[0]["status"] == status
    assert sum(arrived) <= MAX_BYTES + (1 << 16)


def test_unknown_products_are_not_leased(context: ReviewContext, ann: TestClient) -> None:
    answer = ann.post("/api/hold", json={**PAGE, "products": ["p001", "nobody"]})
    assert (answer.status_code, "nobody" in answer.text) == (404, True)
    assert "nobody" not in viewers(context.store)
