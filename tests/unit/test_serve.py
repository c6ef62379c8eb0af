"""The API with a fake engine: answers, refusals as problems, keys, limits, reload, the Open Inference Protocol."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import FakeEngine, ask, client, photo, until
from fastapi.testclient import TestClient
from PIL import Image

from attire.bundle import ModelBundle
from attire.errors import BundleError, ConfigError
from attire.photos.image import open_photo
from attire.predict.predictor import Predictor
from attire.prediction import Answer
from attire.serve import service
from attire.serve.app import create_app
from attire.serve.models import Model
from attire.serve.settings import Settings, read_keys

KEY, ADMIN = "k" * 24, "a" * 24
RED, BLUE = photo((220, 30, 30)), photo((30, 30, 220), format="JPEG")


@pytest.fixture(scope="module")
def engine(untrained: ModelBundle) -> FakeEngine:
    return FakeEngine(untrained.taxonomy)


@pytest.fixture(scope="module")
def api(untrained: ModelBundle, engine: FakeEngine) -> Iterator[TestClient]:
    with client(untrained, engine) as found:
        yield found


def problem(answer: Any, status: int) -> str:
    """The detail, after checking that it is a problem document of that status."""
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
    said = Predictor(untrained, engine)([RED, BLUE], id="p1")
    got = ask(api, RED, BLUE, id="p1", fill=fill).json()
    assert got["id"] == "p1"
    assert got["category"]["value"] == said.category
    assert got["category"]["confidence"] == pytest.approx(said.category_confidence, rel=1e-5)
    assert got["bundle"] == untrained.digest[:12]
    assert got["attributes"].keys() == said.attributes.keys()
    for key, answer in said.attributes.items():
        assert isinstance(answer, Answer)
        assert got["attributes"][key]["values"] == list(answer.values)
        assert got["attributes"][key]["confidence"] == pytest.approx(answer.confidence, rel=1e-5)


def test_a_known_category_overrules_and_an_unknown_word_is_refused(api: TestClient) -> None:
    assert ask(api, RED, category="belts").json()["category"] == {
        "value": "Belts",
        "confidence": 1,
        "alternatives": [{"value": word, "confidence": 0} for word in ("Shirts", "Trousers")],
    }
    assert "did you mean 'Shirts'" in problem(ask(api, RED, category="Shirtz"), 422)


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
    assert "not base64" in reasons[0]
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

        def endless() -> Iterator[bytes]:  # no Content-Length: it is the count while reading that stops it
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


def test_bodies_together_are_bounded_and_their_room_is_given_back(untrained: ModelBundle) -> None:
    with client(untrained, bodies_bytes=5000) as api:
        for _ in range(3):
            refused = ask(api, RED + b"x" * 6000)
            assert "too many large requests" in problem(refused, 503)
            assert refused.headers["retry-after"] == "1"
            assert ask(api, RED).status_code == 200


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_only_three_formats_are_taken(api: TestClient, format: str) -> None:
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
    problem(api.post("/admin/reload"), 404)  # without a key of the operator there is no such route
    missing = api.get("/v2/models/other")
    problem(missing, 404)
    assert missing.json()["error"] == missing.json()["detail"]


def test_a_fault_of_the_server_is_told_without_its_details(api: TestClient, engine: FakeEngine) -> None:
    assert "black" not in problem(ask(api, photo((0, 0, 0))), 500)
    assert ask(api, RED).status_code == 200
    assert engine.batches


def test_keys_are_asked_for(untrained: ModelBundle) -> None:
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
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys(file, "X")


def test_a_full_queue_refuses_at_once_and_the_deadline_gives_up(untrained: ModelBundle) -> None:
    engine = FakeEngine(untrained.taxonomy)
    with client(untrained, engine, queue_photos=2, deadline_s=1) as api, ThreadPoolExecutor() as pool:
        engine.gate.clear()
        slow = pool.submit(ask, api, RED, BLUE)
        until(lambda: b"attire_photos_admitted 2.0" in api.get("/metrics").content)
        refused = ask(api, RED)
        assert "2 photos are waiting" in problem(refused, 503)
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert "within 1 s" in problem(slow.result(), 504)
        engine.gate.set()
        assert ask(api, RED).status_code == 200
        problem(ask(api, RED, RED, RED), 413)  # it could never be admitted


def test_slow_decodes_hold_no_more_threads_than_there_are_and_what_was_given_up_is_not_decoded(
    untrained: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, decoded = threading.Event(), list[bytes]()

    def slow(photo: bytes, target_px: tuple[int, int]) -> Image.Image:
        decoded.append(photo)
        assert gate.wait(20)
        return open_photo(photo, target_px=target_px)

    monkeypatch.setattr(service, "open_photo", slow)
    with client(untrained, decoders=2, deadline_s=0.3, queue_photos=8) as api, ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(ask, api, RED) for _ in range(8)]
        assert {one.result().status_code for one in flood} == {504}
        assert decoded == [RED, RED]
        assert "attire_photos_admitted 0.0" in api.get("/metrics").text
        gate.set()
        assert ask(api, BLUE).status_code == 200
    assert decoded == [RED, RED, BLUE]


def test_a_jpeg_that_takes_minutes_to_decode_is_refused(api: TestClient) -> None:
    content = io.BytesIO()
    Image.new("RGB", (64, 64)).save(content, "JPEG", progressive=True)
    assert ask(api, content.getvalue()).status_code == 200
    start = content.getvalue().rindex(b"\xff\xda")
    scan = content.getvalue()[start:-2]
    assert "scans" in problem(ask(api, content.getvalue()[:-2] + scan * 60 + b"\xff\xd9"), 422)


def test_reload_swaps_the_model_under_requests_and_refuses_a_broken_one(untrained: ModelBundle) -> None:
    old, new = FakeEngine(untrained.taxonomy), FakeEngine(untrained.taxonomy)
    loads: list[Any] = [Model(untrained, old), Model(untrained, new), BundleError("damaged: copy it again")]

    def load(settings: Settings) -> Model:  # noqa: ARG001
        found = loads.pop(0)
        if isinstance(found, BundleError):
            raise found
        assert isinstance(found, Model)
        return found

    app = create_app(Settings(bundle=untrained.path, admin_keys=(ADMIN,)), load=load)
    admin = {"Authorization": f"Bearer {ADMIN}"}
    with TestClient(app) as api, ThreadPoolExecutor() as pool:
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


def test_the_access_log_tells_no_secrets(api: TestClient, caplog: pytest.LogCaptureFixture) -> None:
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


def test_other_origins_are_let_in_only_by_name(untrained: ModelBundle, api: TestClient) -> None:
    asked = {"Origin": "https://shop.example"}
    assert "access-control-allow-origin" not in api.get("/healthz", headers=asked).headers
    with client(untrained, cors_origins=("https://shop.example",)) as open_api:
        answer = open_api.get("/healthz", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-origin" not in open_api.get("/healthz", headers={"Origin": "https://x.y"}).headers


def test_the_words_are_those_of_the_taxonomy(api: TestClient, untrained: ModelBundle) -> None:
    words = api.get("/v1/taxonomy").json()
    assert words["categories"] == list(untrained.taxonomy.categories)
    assert words["keys"]["colour"]["values"] == list(untrained.taxonomy.keys["colour"].values)
    assert words["digest"] == untrained.taxonomy.digest


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


def test_tensors_travel_as_bytes_too(api: TestClient, engine: FakeEngine) -> None:
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
    ("asked", "said"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [tensor(PIXELS.tolist(), name="x")]}, "expected the inputs pixels"),
        ({"inputs": [tensor(PIXELS.tolist(), datatype="FP32")]}, "expected UINT8"),
        ({"inputs": [tensor(PIXELS.tolist(), shape=[2, 3, 8, 8])]}, "expected UINT8"),
        ({"inputs": [tensor([1, 2, 3])]}, "whole numbers"),
        ({"inputs": [tensor([[1], [2, 3]])]}, "whole numbers"),
        ({"inputs": [tensor([256] * PIXELS.size)]}, "whole numbers"),
        ({"inputs": [tensor(["a"] * PIXELS.size)]}, "whole numbers"),
        ({"inputs": [tensor(None, parameters={"binary_data_size": 10})]}, "binary_data_size"),
        ({"inputs": [tensor(PIXELS.tolist())], "outputs": [{"name": "x"}]}, "no output x"),
    ],
)
def test_the_protocol_says_what_does_not_fit(api: TestClient, asked: dict[str, Any], said: str) -> None:
    answer = api.post(INFER, json=asked)
    assert said in problem(answer, 422)
    assert said in answer.json()["error"]


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
