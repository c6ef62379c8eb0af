"""The API with a fake engine: answers, problem documents, keys, limits, reload, the Open Inference Protocol."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from helpers.serve_client import FakeEngine, ask, client, photo, until
from PIL import Image

from attire.bundle import ModelBundle
from attire.errors import BundleError, ConfigError
from attire.inference.predictor import Predictor
from attire.photos.image import open_photo
from attire.pixels.preprocess import Preprocess
from attire.prediction import Answer
from attire.serve import app, decoder_pool, decoder_process, json_bodies, service, tensors_v2
from attire.serve.app import create_app
from attire.serve.fetch import Fetcher
from attire.serve.live_bundle import Model
from attire.serve.logs import Lines
from attire.serve.schemas import Words
from attire.serve.server import run
from attire.serve.settings import MIB, Settings, read_keys
from attire.taxonomy import Taxonomy

KEY, ADMIN = "k" * 24, "a" * 24
RED, BLUE = photo((220, 30, 30)), photo((30, 30, 220), format="JPEG")


@pytest.fixture(scope="module")
def engine(untrained: ModelBundle) -> FakeEngine:
    return FakeEngine(untrained.taxonomy)


@pytest.fixture(scope="module")
def api(untrained: ModelBundle, engine: FakeEngine) -> Iterator[TestClient]:
    with client(untrained, engine) as test_client:
        yield test_client


def problem(answer: Any, status: int) -> str:
    """Assert that the answer is a problem document with that status, and return its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == status
    assert {"type", "title", "detail"} <= content.keys()
    return str(content["detail"])


@pytest.mark.parametrize("fill", ["sure", "all"])
def test_it_answers_as_the_predictor_does(
    api: TestClient, untrained: ModelBundle, engine: FakeEngine, fill: str
) -> None:
    expected = Predictor(untrained, engine)([RED, BLUE], id="p1")
    got = ask(api, RED, BLUE, id="p1", fill=fill).json()
    assert got["id"] == "p1"
    assert got["category"]["value"] == expected.category
    assert got["category"]["confidence"] == pytest.approx(expected.category_confidence, rel=1e-5)
    assert got["bundle"] == untrained.digest[:12]
    assert got["attributes"].keys() == expected.attributes.keys()
    for key, answer in expected.attributes.items():
        assert isinstance(answer, Answer)
        assert got["attributes"][key]["values"] == list(answer.values)
        assert got["attributes"][key]["confidence"] == pytest.approx(answer.confidence, rel=1e-5)


def test_a_known_category_replaces_the_predicted_one_and_an_unknown_one_is_refused(api: TestClient) -> None:
    assert ask(api, RED, category="belts").json()["category"] == {
        "status": "answered",
        "value": "Belts",
        "confidence": 1,
        "alternatives": [{"value": word, "confidence": 0} for word in ("Shirts", "Trousers")],
    }
    detail = problem(ask(api, RED, category="Shirtz"), 422)
    assert detail == (
        "category='Shirtz' is not one of 3 categories; did you mean 'Shirts'? GET /v1/taxonomy lists all words."
    )
    products = [{"photos": [{"base64": base64.b64encode(RED).decode()}], "category": "Shirtz"}]
    (result,) = api.post("/v1/predict/batch", json={"products": products}).json()["results"]
    assert result["problem"]["detail"] == detail
    if service.can_explain():
        for field in ({"value": "Shirtz"}, {"key": "colr"}, {"key": "colour", "value": "redd"}):
            refused = problem(api.post("/v1/explain", files={"photo": RED}, data=field), 422)
            assert "taxonomy.toml" not in refused
            assert "/v1/taxonomy" in refused


def test_one_bad_photo_is_left_out_by_its_number(api: TestClient) -> None:
    both, alone = ask(api, b"\xff\xd8\xff truncated", RED).json(), ask(api, RED).json()
    assert [fault["photo"] for fault in both["faults"]] == [1]
    assert both["category"] == alone["category"]
    assert "photo 1: " in problem(ask(api, b"GIF89a"), 422)


def test_a_batch_answers_each_product_or_says_why_not(api: TestClient) -> None:
    good = {"base64": base64.b64encode(RED).decode()}
    products = [
        {"id": "good", "photos": [good]},
        {"id": "no base64", "photos": [{"base64": "%%%"}]},
        {"id": "no fetching", "photos": [{"url": "https://example.com/1.jpg"}]},
        {"id": "word", "photos": [good], "category": "Spoons"},
    ]
    results = api.post("/v1/predict/batch", json={"products": products}).json()["results"]
    assert [result["id"] for result in results] == ["good", "no base64", "no fetching", "word"]
    assert results[0]["product"]["category"] == ask(api, RED).json()["category"]
    reasons = [result["problem"]["detail"] for result in results[1:]]
    assert "not valid base64" in reasons[0]
    assert "not fetched" in reasons[1]
    assert "Spoons" in reasons[2]


def test_limits_hold_before_anything_is_decoded(untrained: ModelBundle) -> None:
    engine = FakeEngine(untrained.taxonomy)
    limits: dict[str, Any] = {
        "photos": 2,
        "products": 2,
        "photo_bytes": 5000,
        "photo_pixels": 2000,
        "body_bytes": 20_000,
    }
    with client(untrained, engine, **limits) as api:
        assert "at most 2" in problem(ask(api, RED, RED, RED), 413)
        assert "at most 2,000 pixels" in problem(ask(api, photo(size=(50, 41))), 422)
        assert "at most 5,000" in problem(ask(api, RED + b"x" * 5000), 422)
        assert "empty" in problem(ask(api, b""), 422)
        assert "body is too large" in problem(ask(api, b"x" * 20_001), 413)

        def endless() -> Iterator[bytes]:  # without Content-Length, so only the count while reading can stop it
            for _ in range(100):
                yield b"x" * 1000

        streamed = api.post("/v1/predict", content=endless(), headers={"Content-Type": "application/json"})
        assert streamed.status_code in (413, 422)
        batch = api.post("/v1/predict/batch", content=endless(), headers={"Content-Type": "application/json"})
        assert "body is too large" in problem(batch, 413)
        product = {"photos": [{"base64": ""}]}
        assert "at most 2" in problem(api.post("/v1/predict/batch", json={"products": [product] * 3}), 413)
        assert ask(api, RED).status_code == 200
    assert engine.batches == [1]


def test_the_total_size_of_bodies_is_limited(untrained: ModelBundle) -> None:
    with client(untrained, bodies_bytes=5000) as api:
        for _ in range(3):
            refused = ask(api, RED + b"x" * 6000)
            assert "Too many large requests" in problem(refused, 503)
            assert refused.headers["retry-after"] == "1"
            assert ask(api, RED).status_code == 200


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_only_three_formats_are_accepted(api: TestClient, format: str) -> None:
    answer = ask(api, photo(format=format))
    if format in ("JPEG", "PNG", "WEBP"):
        assert answer.status_code == 200
    else:
        assert "expected JPEG, PNG or WebP" in problem(answer, 422)


def test_every_error_is_a_problem(api: TestClient) -> None:
    problem(api.get("/nowhere"), 404)
    problem(api.get("/v1/predict"), 405)
    assert "photos" in problem(api.post("/v1/predict"), 422)
    problem(api.post("/v1/predict/batch", content=b"{"), 422)
    problem(api.post("/v1/predict", content=b"--x", headers={"Content-Type": "multipart/form-data"}), 400)
    problem(api.post("/admin/reload"), 404)  # the route exists only if there is an admin key
    missing = api.get("/v2/models/other")
    problem(missing, 404)
    assert missing.json()["error"] == missing.json()["detail"]


def test_an_internal_error_is_reported_without_details(api: TestClient, engine: FakeEngine) -> None:
    assert "black" not in problem(ask(api, photo((0, 0, 0))), 500)
    assert ask(api, RED).status_code == 200
    assert engine.batches


def test_keys_are_required(untrained: ModelBundle) -> None:
    with client(untrained, keys=(KEY, "other" * 6), admin_keys=(ADMIN,)) as api:
        for path in ("/v1/taxonomy", "/v2", f"/v2/models/{'attire'}"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
                answer = api.get(path, headers=headers)
                problem(answer, 401)
                assert answer.headers["www-authenticate"] == "Bearer"
            assert api.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        problem(ask(api, RED), 401)
        problem(api.post("/v1/predict", content=b"--x", headers={"Content-Type": "multipart/form-data"}), 401)
        problem(api.post("/admin/reload", headers={"Authorization": f"Bearer {KEY}"}), 401)
        assert api.post("/admin/reload", headers={"Authorization": f"Bearer {ADMIN}"}).status_code == 200
        assert api.get("/healthz").status_code == api.get("/").status_code == 200


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# shop\n{KEY}  # backend\n\n{ADMIN}\n")
    assert [key.get_secret_value() for key in read_keys(file, "X")] == [KEY, ADMIN]
    monkeypatch.setenv("X", f"{KEY}, {ADMIN}")
    assert [key.get_secret_value() for key in read_keys(None, "X")] == [KEY, ADMIN]
    file.write_text("short")
    with pytest.raises(ConfigError, match="fewer than 16"):
        read_keys(file, "X")
    file.write_text("# nothing")
    with pytest.raises(ConfigError, match="contains no key"):
        read_keys(file, "X")


def test_a_full_queue_refuses_at_once_and_the_deadline_gives_up(untrained: ModelBundle) -> None:
    engine = FakeEngine(untrained.taxonomy)
    with client(untrained, engine, queue_photos=4, deadline_s=1) as api, ThreadPoolExecutor() as pool:
        engine.gate.clear()
        slow = pool.submit(ask, api, RED, BLUE)
        until(lambda: b"attire_photos_admitted 2.0" in api.get("/metrics").content)
        refused = ask(api, RED)
        assert "2 photos are waiting" in problem(refused, 503)
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert "within 1 s" in problem(slow.result(), 504)
        engine.gate.set()
        assert ask(api, RED).status_code == 200
        problem(ask(api, RED, RED, RED), 413)  # more than can ever be admitted


def test_slow_decoding_does_not_add_threads_and_cancelled_photos_are_not_decoded(
    untrained: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, decoded = threading.Event(), list[bytes]()

    def slow(photo: bytes, target_px: tuple[int, int]) -> Image.Image:
        decoded.append(photo)
        assert gate.wait(20)
        return open_photo(photo, target_px=target_px)

    monkeypatch.setattr(decoder_process, "open_photo", slow)
    with client(untrained, decoders=2, deadline_s=0.3, queue_photos=16) as api, ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(ask, api, RED) for _ in range(8)]
        assert {request.result().status_code for request in flood} == {504}
        assert decoded == [RED, RED]
        assert "attire_photos_admitted 0.0" in api.get("/metrics").text
        gate.set()
        assert ask(api, BLUE).status_code == 200
    assert decoded == [RED, RED, BLUE]


def test_a_jpeg_that_takes_minutes_to_decode_is_refused(untrained: ModelBundle) -> None:
    content = io.BytesIO()
    Image.new("RGB", (64, 64)).save(content, "JPEG", progressive=True)
    start = content.getvalue().rindex(b"\xff\xda")
    scan = content.getvalue()[start:-2]
    with client(untrained, photo_pixels=64 * 64) as api:
        assert ask(api, content.getvalue()).status_code == 200
        assert "in 70 scans" in problem(ask(api, content.getvalue()[:-2] + scan * 60 + b"\xff\xd9"), 422)


def test_reload_swaps_the_model_under_requests_and_refuses_a_broken_one(untrained: ModelBundle) -> None:
    old, new = FakeEngine(untrained.taxonomy), FakeEngine(untrained.taxonomy)
    loads: list[Any] = [Model(untrained, old), Model(untrained, new), BundleError("damaged: copy it again")]

    def load(settings: Settings) -> Model:  # noqa: ARG001
        result = loads.pop(0)
        if isinstance(result, BundleError):
            raise result
        assert isinstance(result, Model)
        return result

    settings = Settings(bundle=untrained.path, admin_keys=(ADMIN,), allow_hosts=("testserver",))
    admin = {"Authorization": f"Bearer {ADMIN}"}
    with TestClient(create_app(settings, load=load)) as api, ThreadPoolExecutor() as pool:
        old.gate.clear()
        before = pool.submit(ask, api, RED)
        until(lambda: b"attire_photos_admitted 1.0" in api.get("/metrics").content)
        assert api.post("/admin/reload", headers=admin).json()["bundle"] == untrained.digest[:12]
        after = pool.submit(ask, api, BLUE)
        old.gate.set()
        assert before.result().status_code == after.result().status_code == 200
        assert (old.batches, new.batches) == ([1], [1])
        assert "damaged: copy it again" in problem(api.post("/admin/reload", headers=admin), 409)
        assert ask(api, RED).status_code == 200
        assert new.batches == [1, 1]
        assert 'attire_reloads_total{outcome="refused"} 1.0' in api.get("/metrics").text


def test_the_access_log_has_no_secrets(api: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "attire"):
        answer = api.get(
            "/v1/taxonomy?token=secret", headers={"X-Request-ID": "abc-1", "Authorization": "Bearer secret"}
        )
        api.get("/a%0ab", headers={"X-Request-ID": "two\nlines"})
    assert answer.headers["x-request-id"] == "abc-1"
    assert "GET /v1/taxonomy 200" in caplog.text
    assert "abc-1" in caplog.text
    assert "secret" not in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_metrics_count_by_route_and_not_by_path(api: TestClient) -> None:
    ask(api, RED)
    api.get("/some/path")
    text = api.get("/metrics").text
    assert 'attire_requests_total{route="/v1/predict",status="200"}' in text
    assert 'route="none",status="404"' in text
    assert "/some/path" not in text
    assert "attire_batch_photos_sum" in text
    assert "attire_products_total 0.0" not in text, "the answers of a scrape are up to date"


def test_other_origins_are_allowed_only_by_name(untrained: ModelBundle, api: TestClient) -> None:
    headers = {"Origin": "https://shop.example"}
    assert "access-control-allow-origin" not in api.get("/healthz", headers=headers).headers
    with client(untrained, cors_origins=("https://shop.example",)) as open_api:
        answer = open_api.get("/healthz", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-origin" not in open_api.get("/healthz", headers={"Origin": "https://x.y"}).headers


def test_the_taxonomy_route_lists_all_words(api: TestClient, untrained: ModelBundle) -> None:
    words = api.get("/v1/taxonomy").json()
    assert words["categories"] == list(untrained.taxonomy.categories)
    assert words["keys"]["colour"]["values"] == list(untrained.taxonomy.keys["colour"].values)
    assert words["digest"] == untrained.taxonomy.digest


def test_words_have_titles_without_a_language_and_parents() -> None:
    colour = {"categories": ["A"], "values": ["navy", "blue"], "titles": {"navy": "Navy", "de": {"blue": "blau"}}}
    taxonomy = Taxonomy.parse({"categories": ["A"], "keys": {"colour": colour | {"parents": {"navy": "blue"}}}}, "it")
    words = Words.of(taxonomy, reads_titles=False).keys["colour"]
    assert (words.titles, words.parents) == ({"navy": "Navy"}, {"navy": "blue"})


def test_the_description_loads_nothing_from_elsewhere(api: TestClient) -> None:
    page = api.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    assert "http" not in api.get("/tryit.css").text
    assert api.get("/docs").status_code == 404
    described = api.get("/openapi.json").json()
    text = json.dumps(described)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in described["components"]["schemas"]


PIXELS = np.arange(2 * 3 * 32 * 24, dtype=np.uint32).astype(np.uint8).reshape(2, 3, 32, 24)
INFER = "/v2/models/attire/infer"


def tensor(data: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "pixels", "datatype": "UINT8", "shape": list(PIXELS.shape), "data": data, **fields}


def test_the_open_inference_protocol_gives_raw_logits(
    api: TestClient, engine: FakeEngine, untrained: ModelBundle
) -> None:
    category, attributes = engine.logits(PIXELS)
    assert api.get("/v2/health/live").json() == {"live": True}
    assert api.get("/v2/health/ready").json() == {"ready": True}
    about = api.get(f"/v2/models/attire/versions/{untrained.digest[:12]}").json()
    assert about["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 3, 32, 24]}]
    assert api.get("/v2/models/attire/ready").json() == {"name": "attire", "ready": True}
    for data in (PIXELS.tolist(), PIXELS.ravel().tolist()):
        answer = api.post(INFER, json={"id": "7", "inputs": [tensor(data)]}).json()
        assert (answer["model_name"], answer["id"]) == ("attire", "7")
        got = {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in answer["outputs"]}
        np.testing.assert_allclose(got["category"], category, rtol=1e-5)
        np.testing.assert_allclose(got["attributes"], attributes, rtol=1e-5)


def test_tensors_can_be_sent_as_bytes(api: TestClient, engine: FakeEngine) -> None:
    inputs = tensor(None, parameters={"binary_data_size": PIXELS.nbytes})
    outputs = [{"name": "category", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [inputs], "outputs": outputs}).encode()
    answer = api.post(
        INFER, content=header + PIXELS.tobytes(), headers={"Inference-Header-Content-Length": str(len(header))}
    )
    size = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:size])["outputs"]
    values = np.frombuffer(answer.content[size:], "<f4").reshape(output["shape"])
    np.testing.assert_allclose(values, engine.logits(PIXELS)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("request_body", "detail"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [tensor(PIXELS.tolist(), name="x")]}, "Expected the inputs pixels"),
        ({"inputs": [tensor(PIXELS.tolist(), datatype="FP32")]}, "expected UINT8"),
        ({"inputs": [tensor(PIXELS.tolist(), shape=[2, 3, 8, 8])]}, "expected UINT8"),
        ({"inputs": [tensor([1, 2, 3])]}, "integers from"),
        ({"inputs": [tensor([[1], [2, 3]])]}, "integers from"),
        ({"inputs": [tensor([256] * PIXELS.size)]}, "integers from"),
        ({"inputs": [tensor([0] * (PIXELS.size - 1) + ["a"])]}, "integers from"),
        ({"inputs": [tensor(None, parameters={"binary_data_size": 10})]}, "binary_data_size"),
        ({"inputs": [tensor(PIXELS.tolist())], "outputs": [{"name": "x"}]}, "no output x"),
    ],
)
def test_invalid_inference_requests_are_refused(api: TestClient, request_body: dict[str, Any], detail: str) -> None:
    answer = api.post(INFER, json=request_body)
    assert detail in problem(answer, 422)
    assert detail in answer.json()["error"]


def refused_json(api: TestClient, path: str, body: bytes, status: int) -> str:
    return problem(api.post(path, content=body, headers={"Content-Type": "application/json"}), status)


BATCH = "/v1/predict/batch"


@pytest.mark.parametrize("path", [BATCH, INFER])
@pytest.mark.parametrize(
    "body",
    [
        b"[1]," * 250_000,
        b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,3,32,24],"data":[%s1]}]}' % (b"[1]," * 250_000),
        b"{%s}" % b",".join(b'"%x":1' % number for number in range(100_000)),
        b"[" * 1_000_000,
        b'{"products":[%s1]}' % (b"1," * 500_000),
        b'["%s"]' % (b'","' * 300_000),
    ],
    ids=["lists", "tensor", "fields", "brackets", "numbers", "strings"],
)
def test_json_values_are_counted_before_the_body_is_parsed(
    api: TestClient, path: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_bodies, "parse", lambda *_: pytest.fail("it was parsed"))
    monkeypatch.setattr(tensors_v2, "parse", lambda *_: pytest.fail("it was parsed"))
    assert "JSON is too large" in refused_json(api, path, body, 413)


@pytest.mark.parametrize("path", [BATCH, INFER])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe{}",
        b"{" * 900,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"products":[{"id":"\\ud800","photos":[{"base64":""}]}],"id":"\\ud800","inputs":[]}',
        b'{"products":[{"id":"\xed\xa0\x80"}],"id":"\xed\xa0\x80","inputs":[]}',
        b'{"precision":%s,"inputs":[{"name":"pixels","datatype":"UINT8","shape":[%s,3,32,24]}]}' % ((b"1" * 5000,) * 2),
        b'{"precision":%s,"inputs":[{"name":"pixels","datatype":"UINT8","shape":[%s,3,32,24]}]}' % ((b"1" * 4000,) * 2),
        b'{"precision":NaN,"inputs":[{"name":"pixels","datatype":"UINT8","shape":[NaN],"data":[NaN]}]}',
        b'{"precision":1e999,"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1e999,3,32,24],"data":[-Infinity]}]}',
        b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,3,32,24],"data":[1e999]}]}',
    ],
)
def test_malformed_json_is_refused(api: TestClient, path: str, body: bytes) -> None:
    assert refused_json(api, path, body, 422)


def test_a_tensor_is_never_as_large_as_its_longest_word(api: TestClient) -> None:
    odd: list[Any] = ["a" * 3_000_000, [[[]]], {"a": 1}, 1.5, None, "1", 1e999, -1, 256]
    for word in odd:
        body = json.dumps({"inputs": [tensor([0] * (PIXELS.size - 1) + [word])]}).encode()
        assert "integers from" in refused_json(api, INFER, body, 422)
    ragged = PIXELS.reshape(2, 3, 32, 24).tolist()
    ragged[0][0][0], ragged[0][0][1] = ragged[0][0][0][:-1], [*ragged[0][0][1], 7]  # the right count of numbers
    assert "integers from" in refused_json(api, INFER, json.dumps({"inputs": [tensor(ragged)]}).encode(), 422)


def test_duplicate_inputs_and_outputs_are_refused(api: TestClient) -> None:
    one = tensor(PIXELS.tolist())
    assert "twice" in problem(api.post(INFER, json={"inputs": [one, one]}), 422)
    assert "twice" in problem(api.post(INFER, json={"inputs": [one], "outputs": [{"name": "category"}] * 500}), 422)


@pytest.mark.parametrize("length", ["-1", "1e3", "\u00b2", "9" * 30, "0x10", ""])
def test_the_header_with_the_json_length_must_be_a_number_within_the_body(api: TestClient, length: str) -> None:
    content = json.dumps({"inputs": [tensor(PIXELS.tolist())]}).encode()
    headers = {b"Inference-Header-Content-Length": length.encode("latin-1")}
    problem(api.post(INFER, content=content, headers=headers), 400)


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x; charset=punycode",
        'multipart/form-data; boundary=x; charset="raw_unicode_escape"',
        "multipart/form-data; charset=idna; boundary=x",
    ],
)
def test_forms_that_are_slow_to_read_are_refused_unread(api: TestClient, kind: str) -> None:
    def unread() -> Iterator[bytes]:
        yield b"--x"

    problem(api.post("/v1/predict", content=unread(), headers={"Content-Type": kind}), 415)


HOSTILE = [
    "[", "[::1", "]", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "",
    "localhost@evil.example", "localhost:80:80", "//localhost", "10.0.0.1", "\u00b2", "localhost:x", "a b",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTILE)
def test_without_keys_other_hosts_are_refused(untrained: ModelBundle, host: str) -> None:
    headers = {b"Host": host.encode("latin-1")}
    with client(untrained, allow_hosts=()) as api:
        for path in ("/", "/v1/taxonomy", "/v2", "/nowhere", "/openapi.json", "/metrics", "/v1/taxonomy/"):
            assert "--allow-hosts" in problem(api.get(path, headers=headers), 421)
        problem(api.post("/v1/predict", headers=headers, files={"photos": RED}), 421)
        for path in ("/healthz", "/readyz", "/v2/health/live"):  # load balancers use any name
            assert api.get(path, headers=headers).status_code == 200


def test_the_servers_own_names_are_answered(untrained: ModelBundle) -> None:
    def answered(api: TestClient, *hosts: str) -> set[int]:
        return {api.get("/v2", headers={"Host": host}).status_code for host in hosts}

    local = ("localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:80", "[::1]:8000")
    with client(untrained, allow_hosts=()) as api:
        assert answered(api, *local) == {200}
    with client(untrained, host="0.0.0.0", allow_hosts=("API.example.com",)) as api:
        assert answered(
            api, *local, "api.example.com", "api.example.com.:443", "192.168.0.7:8000", "[2001:db8::1]"
        ) == {200}
        assert answered(api, "example.com", "x.api.example.com", "api.example.com.evil.example") == {421}
    key = {"Authorization": f"Bearer {KEY}"}
    with client(untrained, allow_hosts=(), keys=(KEY,)) as api:
        for host in ("shop.example", "[", ""):
            assert api.get("/v2", headers={"Host": host, **key}).status_code == 200
            problem(api.get("/nowhere", headers={"Host": host}), 404)
            problem(api.get("/v2/", headers={"Host": host, **key}), 404)  # no redirect to the Host header
    with client(untrained, allow_hosts=("shop.example",), keys=(KEY,)) as api:
        assert api.get("/v2", headers={"Host": "shop.example", **key}).status_code == 200
        assert api.get("/v2", headers={"Host": "evil.example", **key}).status_code == 421


def test_memory_is_returned_after_a_burst(untrained: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    resident, returned = [500 * MIB], list[int]()

    def give_back() -> None:
        returned.append(resident[0])
        resident[0] = 520 * MIB

    monkeypatch.setattr(app, "GIVE_BACK_S", 0.01)
    monkeypatch.setattr(app, "resident_bytes", lambda: resident[0])
    monkeypatch.setattr(app, "give_freed_memory_back", give_back)
    with client(untrained) as api:
        resident[0] = 650 * MIB  # within what batches may use
        time.sleep(0.2)
        assert not returned
        resident[0] = 900 * MIB
        until(lambda: returned == [900 * MIB])
        time.sleep(0.2)
        assert len(returned) == 1
        assert ask(api, RED).status_code == 200


def test_no_client_can_fill_the_queue(untrained: ModelBundle) -> None:
    engine = FakeEngine(untrained.taxonomy)
    keys = {name: {"Authorization": f"Bearer {letter * 20}"} for name, letter in (("many", "m"), ("few", "f"))}
    with client(untrained, engine, queue_photos=8, keys=("m" * 20, "f" * 20)) as api, ThreadPoolExecutor(16) as pool:

        def status(name: str) -> int:
            return api.post("/v1/predict", files={"photos": RED}, headers=keys[name]).status_code

        engine.gate.clear()
        many = [pool.submit(status, "many") for _ in range(12)]
        until(lambda: sum(request.done() for request in many) == 8)
        few = pool.submit(status, "few")
        until(lambda: b"attire_photos_admitted 5.0" in api.get("/metrics").content)
        engine.gate.set()
        assert few.result() == 200
        assert sorted(request.result() for request in many) == [200] * 4 + [503] * 8


def test_the_number_of_fetched_photos_is_limited_until_they_are_decoded(
    untrained: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, counts = list[bytes](), list[int]()

    class FakeFetcher(Fetcher):
        async def __call__(self, url: str) -> bytes:  # noqa: ARG002
            in_memory.append(RED)
            counts.append(len(in_memory))
            await asyncio.sleep(0.01)
            return RED

    def decode(content: bytes, preprocess: Preprocess | None) -> Any:
        in_memory.pop()
        return decoder_process.decode(content, preprocess)

    monkeypatch.setattr(decoder_pool, "decode", decode)
    monkeypatch.setattr(service, "FETCHES", 3)
    with client(untrained, fetch=FakeFetcher(Settings(bundle=untrained.path))) as api:
        product = {"photos": [{"url": "https://img.example.com/1.jpg"}] * 8}
        results = api.post(BATCH, json={"products": [product] * 4}).json()["results"]
    assert all(result["product"] for result in results)
    assert max(counts) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unavailable_address_is_reported_before_anything_starts(untrained: ModelBundle, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{port}: Address already in use. Choose"):
            run(Settings(bundle=untrained.path), port, workers)
    for host, port in (("203.0.113.1", 0), ("127.0.0.1", 99999), ("a" * 300, 0)):
        with pytest.raises(ConfigError, match=r"cannot listen on|expected a number from 0"):
            run(Settings(bundle=untrained.path, host=host), port, workers)


def test_a_key_file_that_every_account_can_read_gives_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    for mode, warned in ((0o644, True), (0o602, True), (0o640, False), (0o600, False)):
        file.chmod(mode)
        caplog.clear()
        assert read_keys(file, "X")
        assert ("every account" in caplog.text) == warned


def test_control_characters_are_escaped_in_the_log() -> None:
    record = logging.LogRecord("a", logging.INFO, "f", 1, "one\x1b[2J\ntwo\x9b\u202e %s", ("\r\x07",), None)
    try:
        raise ValueError("\x1b]0;title\x07")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = Lines("%(levelname)s %(message)s").format(record)
    first, *trace = text.split("\n")
    assert first == r"INFO one\x1b[2J\ntwo\x9b\u202e \r\x07"
    assert trace[-1] == r"ValueError: \x1b]0;title\x07"
    assert all(character.isprintable() or character == "\n" for character in text)


def test_mutated_photos_are_answered_or_refused(untrained: ModelBundle) -> None:
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    seeds = []
    for format in ("JPEG", "PNG", "WEBP"):
        content = io.BytesIO()
        Image.fromarray(noise).save(content, format)
        seeds.append(content.getvalue())
    with client(untrained) as api:
        statuses = set()
        for _ in range(300):
            body = bytearray(seeds[random.integers(len(seeds))])
            for _ in range(random.integers(1, 12)):
                body[random.integers(min(len(body), 200) if random.random() < 0.5 else len(body))] = random.integers(
                    256
                )
            if random.random() < 0.3:
                del body[random.integers(len(body)) :]
            statuses.add(ask(api, bytes(body)).status_code)
    assert statuses == {200, 422}
