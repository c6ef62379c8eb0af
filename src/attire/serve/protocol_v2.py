"""The Open Inference Protocol (KServe, Triton) for the raw network: pixels in, logits out.

Input `pixels` UINT8[B, 3, H, W] (and `title` BYTES[B] for bundles that read titles), outputs `category` FP32[B, C] and
`attributes` FP32[B, K], unnormalised. Data travels as JSON or by the binary tensor extension.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, ValidationError

from attire.predict.engines import Bytes, Floats
from attire.serve.models import Model
from attire.serve.problems import ProblemError, described
from attire.serve.routes_v1 import BUSY, service_of

HEADER_LENGTH = "Inference-Header-Content-Length"
PHOTO, TITLE = "pixels", "title"

v2 = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


class Server(BaseModel):
    """What serves."""

    name: str = "attire"
    version: str
    extensions: list[str] = ["binary_tensor_data"]


class Live(BaseModel):
    """The process lives."""

    live: bool = True


class Ready(BaseModel):
    """Requests will be answered."""

    ready: bool = True


class ModelReady(Ready):
    """The model answers."""

    name: str


class TensorOf(BaseModel):
    """A tensor's name, type and shape; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelOf(BaseModel):
    """What goes in and comes out."""

    name: str
    versions: list[str]
    platform: str = "attire"
    inputs: list[TensorOf]
    outputs: list[TensorOf]


class Tensor(BaseModel):
    """One input. `data` is flat or nested; it is absent where `parameters.binary_data_size` says that bytes follow."""

    name: str
    shape: list[int] = Field(min_length=1, max_length=4)
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(BaseModel):
    """An output that is asked for; `parameters.binary_data` true wants it as bytes."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """A request of the protocol."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[Wanted] | None = None


class Output(BaseModel):
    """One output, in row-major order."""

    name: str
    shape: list[int]
    datatype: Literal["FP32"] = "FP32"
    parameters: dict[str, Any] | None = None
    data: list[float] | None = None


class InferAnswer(BaseModel):
    """An answer of the protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


@v2.get("", responses=described(401))
async def server() -> Server:
    """Name, version and extensions of the server."""
    from importlib.metadata import version

    return Server(version=version("attire"))


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


BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}}},
    }
}


@v2.post("/models/{name}/infer", response_model=InferAnswer, openapi_extra=BODY, responses=described(404, *BUSY))
@v2.post(
    "/models/{name}/versions/{version}/infer",
    response_model=InferAnswer,
    openapi_extra=BODY,
    responses=described(404, *BUSY),
)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Logits of a batch of pixels."""
    service, found = service_of(request), _named(request, name, version)
    length = request.headers.get(HEADER_LENGTH)
    body = await request.body()
    asked, pixels, titles = await asyncio.to_thread(_parsed, body, length, found)
    async with service.admitted(len(pixels)):
        category, attributes = await service.logits(found, list(pixels), titles)
    computed = {"category": category, "attributes": attributes}
    return await asyncio.to_thread(_answer, asked, name, found.version, computed)


def _named(request: Request, name: str, version: str | None) -> Model:
    service = service_of(request)
    found = service.model()
    if name != service.settings.name or version not in (None, found.version):
        what = name if version is None else f"{name}, version {version}"
        here = f"{service.settings.name}, version {found.version}"
        raise ProblemError(404, f"no model {what} is here; there is {here}")
    return found


def _parsed(body: bytes, length: str | None, model: Model) -> tuple[InferRequest, Bytes, list[str]]:
    """The request, its pixels uint8[B, 3, H, W], and a title for each or none at all."""
    if length is not None and (not length.isdigit() or int(length[:20]) > len(body)):
        raise ProblemError(400, f"{HEADER_LENGTH} is {length[:20]}, but the body has {len(body)} bytes")
    header = body if length is None else body[: int(length)]
    rest = memoryview(b"" if length is None else body[int(length) :])
    try:
        asked = InferRequest.model_validate_json(header)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ProblemError(422, f"not a request of the Open Inference Protocol: {where} {fault['msg']}") from None
    given: dict[str, list[Any] | memoryview] = {}
    for tensor in asked.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            given[tensor.name] = tensor.data if tensor.data is not None else []
        elif not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise ProblemError(422, f"{tensor.name}: binary_data_size is {size}, but {len(rest)} bytes follow")
        else:
            given[tensor.name], rest = rest[:size], rest[size:]
    tensors = {tensor.name: tensor for tensor in asked.inputs}
    known = (PHOTO, TITLE) if model.bundle.title_reader else (PHOTO,)
    if PHOTO not in tensors or any(name not in known for name in tensors):
        raise ProblemError(422, f"expected the inputs {', '.join(known)}, came {', '.join(tensors)}"[:300])
    pixels = _pixels(tensors[PHOTO], given[PHOTO], model)
    titles = _titles(given[TITLE], len(pixels)) if TITLE in tensors else []
    return asked, pixels, titles


def _pixels(tensor: Tensor, data: list[Any] | memoryview, model: Model) -> Bytes:
    height, width = model.bundle.preprocess.size_px
    batch = tensor.shape[0]
    if tensor.datatype != "UINT8" or tensor.shape[1:] != [3, height, width] or batch < 1:
        came = f"{tensor.datatype}{tensor.shape}"
        raise ProblemError(
            422, f"{PHOTO}: expected UINT8[B, 3, {height}, {width}] with B at least 1, came {came}"[:300]
        )
    try:
        if isinstance(data, memoryview):
            return np.frombuffer(data, np.uint8).reshape(tensor.shape)
        values = np.array(data)
        if values.dtype.kind not in "iu" or (values.size and (values.min() < 0 or values.max() > 255)):
            raise ValueError
        return values.astype(np.uint8).reshape(tensor.shape)
    except (ValueError, OverflowError, TypeError, RecursionError):
        detail = f"{PHOTO}: expected {batch * 3 * height * width} whole numbers from 0 to 255, flat or nested"
        raise ProblemError(422, detail) from None


def _titles(data: list[Any] | memoryview, batch: int) -> list[str]:
    """As JSON strings, or each behind its length in four bytes, the lowest first."""
    try:
        if isinstance(data, memoryview):
            words, rest = [], bytes(data)
            while rest:
                size = int.from_bytes(rest[:4], "little")
                words.append(rest[4 : 4 + size].decode())
                rest = rest[4 + size :]
        else:
            words = [word for word in data if isinstance(word, str)]
        if len(words) != batch:
            raise ValueError
        return words
    except ValueError:
        raise ProblemError(422, f"{TITLE}: expected {batch} strings, one for each photo") from None


def _answer(asked: InferRequest, name: str, version: str, computed: dict[str, Floats]) -> Response:
    wanted: Sequence[Wanted] = [Wanted(name=each) for each in computed] if asked.outputs is None else asked.outputs
    binary_by_default = asked.parameters.get("binary_data_output", False)
    outputs, tail = [], b""
    for output in wanted:
        if output.name not in computed:
            raise ProblemError(422, f"no output {output.name[:100]}; there are {', '.join(computed)}")
        values = np.ascontiguousarray(computed[output.name], dtype="<f4")
        if output.parameters.get("binary_data", binary_by_default):
            sizes = {"binary_data_size": values.nbytes}
            outputs.append(Output(name=output.name, shape=list(values.shape), parameters=sizes))
            tail += values.tobytes()
        else:
            outputs.append(Output(name=output.name, shape=list(values.shape), data=values.ravel().tolist()))
    answer = InferAnswer(model_name=name, model_version=version, id=asked.id, outputs=outputs)
    header = json.dumps(answer.model_dump(exclude_none=True)).encode()
    if not tail:
        return Response(header, media_type="application/json")
    return Response(header + tail, media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(header))})
