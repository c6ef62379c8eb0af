"""Titles for bundles that read them and for bundles that do not: /v1, its batches, and /v2."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from helpers.bundles import save_bundle
from helpers.serve_client import FakeEngine, ask, client, photo

from attire.bundle import ModelBundle
from attire.config import Architecture
from attire.inference.predictor import Predictor
from attire.model.network import build_network
from attire.serve.app import create_app
from attire.serve.settings import Settings

RED, TITLE = photo((220, 30, 30)), "Navy blue belt of leather"
INFER = "/v2/models/attire/infer"


@pytest.fixture(scope="module")
def reading(untrained: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Like `untrained`, but every word of a title changes the logits."""
    torch.manual_seed(0)
    architecture = Architecture(backbone="test_resnet", hidden=8, shared=True, text="title", text_buckets=64)
    network = build_network(architecture, untrained.taxonomy)
    for name, weights in network.named_parameters():
        if "embedding" in name:  # initialised to zero, so that untrained words have no effect
            torch.nn.init.normal_(weights, std=20)
    return save_bundle(tmp_path_factory.mktemp("reading") / "bundle", network, architecture, untrained.taxonomy)


@pytest.fixture(scope="module")
def api(reading: ModelBundle) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(bundle=reading.path, allow_hosts=("testserver",)))) as test_client:
        yield test_client


def test_answers_with_titles_equal_the_predictors(api: TestClient, reading: ModelBundle) -> None:
    assert api.get("/v1/taxonomy").json()["reads_titles"] is True
    expected = {title: Predictor(reading)([RED], title=title) for title in ("", TITLE)}
    assert expected[""].category_confidence != pytest.approx(expected[TITLE].category_confidence, rel=1e-3)
    inline = [{"base64": base64.b64encode(RED).decode()}]
    products = [{"id": title, "photos": inline, "title": title} for title in expected]
    results = api.post("/v1/predict/batch", json={"products": products}).json()["results"]
    got = {title: ask(api, RED, **({"title": title} if title else {})).json() for title in expected}
    for answers in (got, {result["id"]: result["product"] for result in results}):
        for title, answer in answers.items():
            assert answer["category"]["value"] == expected[title].category
            assert answer["category"]["confidence"] == pytest.approx(expected[title].category_confidence, rel=1e-4)


def test_v2_accepts_titles_and_an_empty_title_has_no_effect(api: TestClient) -> None:
    about = api.get("/v2/models/attire").json()
    assert about["inputs"][1] == {"name": "title", "datatype": "BYTES", "shape": [-1]}
    pixels = np.full((2, 3, 32, 24), 99, dtype=np.uint8)
    photos = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}

    def category(*titles: str) -> Any:
        text = {"name": "title", "datatype": "BYTES", "shape": [len(titles)], "data": titles}
        answer = api.post(INFER, json={"inputs": [photos, text] if titles else [photos]})
        assert answer.status_code == 200, answer.text
        output = answer.json()["outputs"][0]
        return np.reshape(output["data"], output["shape"])

    plain, one, both = category(), category(TITLE, ""), category(TITLE, TITLE)
    np.testing.assert_allclose(one[1], plain[1], rtol=1e-4)
    np.testing.assert_allclose(one[0], both[0], rtol=1e-4)
    assert np.abs(one[0] - plain[0]).max() > 0.01
    for titles in ([TITLE], ["x" * 2001, ""], [1, 2]):
        text = {"name": "title", "datatype": "BYTES", "shape": [2], "data": titles}
        refused = api.post(INFER, json={"inputs": [photos, text]})
        assert refused.status_code == 422
        assert "expected 2 strings" in refused.json()["detail"]


def test_a_title_is_refused_if_the_bundle_reads_none_and_the_description_says_so(untrained: ModelBundle) -> None:
    engine = FakeEngine(untrained.taxonomy)
    with client(untrained, engine) as api:
        assert api.get("/v1/taxonomy").json()["reads_titles"] is False
        inline = [{"base64": base64.b64encode(RED).decode()}]
        products = [{"photos": inline, "title": TITLE}, {"photos": inline}]
        titled, plain = api.post("/v1/predict/batch", json={"products": products}).json()["results"]
        assert "reads photos only" in titled["problem"]["detail"]
        assert plain["product"]["category"]
        refused = ask(api, RED, title=TITLE)
        assert refused.status_code == 422
        assert "reads photos only" in refused.json()["detail"]
        assert str(untrained.path) not in refused.json()["detail"]
        schemas = api.get("/openapi.json").json()["components"]["schemas"]
        (form,) = (schema for name, schema in schemas.items() if name.startswith("Body_predict"))
        for schema in (form, schemas["BatchProduct"]):
            assert "reads_titles" in schema["properties"]["title"]["description"]
    assert engine.batches == [1]
