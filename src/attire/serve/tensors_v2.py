"""How tensors travel in the Open Inference Protocol: as JSON, or as bytes behind it (binary tensor extension)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import Response
from pydantic import ValidationError

from attire.predict.engines import Bytes, Floats
from attire.serve.models import Model
from attire.serve.problems import ProblemError
from attire.serve.schemas import LONGEST_TITLE
from attire.serve.schemas_v2 import InferAnswer, InferRequest, Output, Tensor, Wanted

HEADER_LENGTH = "Inference-Header-Content-Length"
PHOTO, TITLE = "pixels", "title"


def read(body: bytes, length: str | None, model: Model) -> tuple[InferRequest, Bytes, list[str]]:
    """The request, its pixels uint8[B, 3, H, W], and a title for each or none at all; raises `ProblemError`.

    `length`: the header that says where the JSON ends and bytes begin.
    """
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


def write(asked: InferRequest, name: str, version: str, computed: dict[str, Floats]) -> Response:
    """The outputs that were asked for, each as JSON or as bytes behind it; raises `ProblemError` for another one."""
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
        if len(words) != batch or max(map(len, words)) > LONGEST_TITLE:
            raise ValueError
        return words
    except ValueError:
        detail = f"{TITLE}: expected {batch} strings of at most {LONGEST_TITLE} characters, one for each photo"
        raise ProblemError(422, detail) from None
