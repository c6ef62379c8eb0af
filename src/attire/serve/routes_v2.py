"""The Open Inference Protocol (KServe, Triton) for the network: pixels in, logits out.

Input `pixels` UINT8[B, 3, H, W] (and `title` BYTES[B] for bundles that read titles), outputs `category` FP32[B, C] and
`attributes` FP32[B, K], unnormalised.
"""

from __future__ import annotations

from importlib.metadata import version as installed

from fastapi import APIRouter, Request, Response

from attire.serve import json_bodies
from attire.serve.fairness import client_of
from attire.serve.live_bundle import Model
from attire.serve.problems import ProblemError, openapi_problems
from attire.serve.routes_v1 import BUSY, service_of
from attire.serve.schemas_v2 import InferAnswer, InferRequest, Live, ModelOf, ModelReady, Ready, Server, TensorOf
from attire.serve.tensors_v2 import HEADER_LENGTH, PHOTO, TITLE, json_bytes, json_limits, read, write

v2 = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@v2.get("", responses=openapi_problems(401))
async def server() -> Server:
    """Return the name, version and extensions of the server."""
    return Server(version=installed("attire"))


@v2.get("/health/live", responses=openapi_problems(401))
async def live() -> Live:
    """Return 200 while the process is alive."""
    return Live()


@v2.get("/health/ready", responses=openapi_problems(401, 503))
async def ready(request: Request) -> Ready:
    """Return 200 once a bundle is loaded."""
    service_of(request).model()
    return Ready()


@v2.get("/models/{name}", responses=openapi_problems(401, 404, 503))
@v2.get("/models/{name}/versions/{version}", responses=openapi_problems(401, 404, 503))
async def model(request: Request, name: str, version: str | None = None) -> ModelOf:
    """Return the inputs and outputs of the model."""
    current = _find_model(request, name, version)
    taxonomy, (height, width) = current.bundle.taxonomy, current.bundle.preprocess.size_px
    inputs = [TensorOf(name=PHOTO, datatype="UINT8", shape=[-1, 3, height, width])]
    if current.bundle.title_reader:
        inputs.append(TensorOf(name=TITLE, datatype="BYTES", shape=[-1]))
    outputs = [
        TensorOf(name="category", datatype="FP32", shape=[-1, len(taxonomy.categories)]),
        TensorOf(name="attributes", datatype="FP32", shape=[-1, taxonomy.width]),
    ]
    return ModelOf(name=name, versions=[current.version], inputs=inputs, outputs=outputs)


@v2.get("/models/{name}/ready", responses=openapi_problems(401, 404, 503))
@v2.get("/models/{name}/versions/{version}/ready", responses=openapi_problems(401, 404, 503))
async def model_ready(request: Request, name: str, version: str | None = None) -> ModelReady:
    """Return 200 if the model is ready."""
    _find_model(request, name, version)
    return ModelReady(name=name)


@v2.post(
    "/models/{name}/infer",
    response_model=InferAnswer,
    openapi_extra=json_bodies.openapi_body(InferRequest),
    responses=openapi_problems(404, *BUSY),
)
@v2.post(
    "/models/{name}/versions/{version}/infer",
    response_model=InferAnswer,
    openapi_extra=json_bodies.openapi_body(InferRequest),
    responses=openapi_problems(404, *BUSY),
)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Compute the logits of a batch of pixels."""
    service, current = service_of(request), _find_model(request, name, version)
    client, length = client_of(request.scope), json_bytes(request.headers.get(HEADER_LENGTH))
    body = await json_bodies.read(request, json_limits(service.settings, current), length)
    infer_request, pixels, titles = await service.run(client, read, body, length, current)
    async with service.admitted(client, len(pixels)):
        category, attributes = await service.logits(client, current, list(pixels), titles)
    computed = {"category": category, "attributes": attributes}
    return await service.run(client, write, infer_request, name, current.version, computed)


def _find_model(request: Request, name: str, version: str | None) -> Model:
    service = service_of(request)
    current = service.model()
    if name != service.settings.name or version not in (None, current.version):
        wanted = name if version is None else f"{name}, version {version}"
        available = f"{service.settings.name}, version {current.version}"
        raise ProblemError(404, f"There is no model {wanted}; this server has {available}.")
    return current
