"""The Open Inference Protocol (KServe, Triton) for the raw network: pixels in, logits out.

Input `pixels` UINT8[B, 3, H, W] (and `title` BYTES[B] for bundles that read titles), outputs `category` FP32[B, C] and
`attributes` FP32[B, K], unnormalised.
"""

from __future__ import annotations

from importlib.metadata import version as installed

from fastapi import APIRouter, Request, Response

from attire.serve import json_bodies
from attire.serve.fairness import client_of
from attire.serve.live_bundle import Model
from attire.serve.problems import ProblemError, described
from attire.serve.routes_v1 import BUSY, service_of
from attire.serve.schemas_v2 import InferAnswer, InferRequest, Live, ModelOf, ModelReady, Ready, Server, TensorOf
from attire.serve.tensors_v2 import HEADER_LENGTH, PHOTO, TITLE, json_bytes, most, read, write

v2 = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@v2.get("", responses=described(401))
async def server() -> Server:
    """Name, version and extensions of the server."""
    return Server(version=installed("attire"))


@v2.get("/health/live", responses=described(401))
async def live() -> Live:
    """The process lives."""
    return Live()


@v2.get("/health/ready", responses=described(401, 503))
async def ready(request: Request) -> Ready:
    """A bundle is loaded."""
    service_of(request).model()
    return Ready()


@v2.get("/models/{name}", responses=described(401, 404, 503))
@v2.get("/models/{name}/versions/{version}", responses=described(401, 404, 503))
async def model(request: Request, name: str, version: str | None = None) -> ModelOf:
    """Inputs and outputs of the model."""
    found = _named(request, name, version)
    taxonomy, (height, width) = found.bundle.taxonomy, found.bundle.preprocess.size_px
    inputs = [TensorOf(name=PHOTO, datatype="UINT8", shape=[-1, 3, height, width])]
    if found.bundle.title_reader:
        inputs.append(TensorOf(name=TITLE, datatype="BYTES", shape=[-1]))
    outputs = [
        TensorOf(name="category", datatype="FP32", shape=[-1, len(taxonomy.categories)]),
        TensorOf(name="attributes", datatype="FP32", shape=[-1, taxonomy.width]),
    ]
    return ModelOf(name=name, versions=[found.version], inputs=inputs, outputs=outputs)


@v2.get("/models/{name}/ready", responses=described(401, 404, 503))
@v2.get("/models/{name}/versions/{version}/ready", responses=described(401, 404, 503))
async def model_ready(request: Request, name: str, version: str | None = None) -> ModelReady:
    """The model answers."""
    _named(request, name, version)
    return ModelReady(name=name)


@v2.post(
    "/models/{name}/infer",
    response_model=InferAnswer,
    openapi_extra=json_bodies.described(InferRequest),
    responses=described(404, *BUSY),
)
@v2.post(
    "/models/{name}/versions/{version}/infer",
    response_model=InferAnswer,
    openapi_extra=json_bodies.described(InferRequest),
    responses=described(404, *BUSY),
)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Logits of a batch of pixels."""
    service, found = service_of(request), _named(request, name, version)
    client, length = client_of(request.scope), json_bytes(request.headers.get(HEADER_LENGTH))
    body = await json_bodies.read(request, most(service.settings, found), length)
    asked, pixels, titles = await service.run(client, read, body, length, found)
    async with service.admitted(client, len(pixels)):
        category, attributes = await service.logits(client, found, list(pixels), titles)
    computed = {"category": category, "attributes": attributes}
    return await service.run(client, write, asked, name, found.version, computed)


def _named(request: Request, name: str, version: str | None) -> Model:
    service = service_of(request)
    found = service.model()
    if name != service.settings.name or version not in (None, found.version):
        what = name if version is None else f"{name}, version {version}"
        here = f"{service.settings.name}, version {found.version}"
        raise ProblemError(404, f"no model {what} is here; there is {here}")
    return found
