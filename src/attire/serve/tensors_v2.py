"""Encodes tensors of the Open Inference Protocol as JSON, or as bytes after the JSON (binary tensor extension)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from fastapi import Response

from attire.engines.engine import Bytes, Floats
from attire.serve.json_bodies import JsonLimits, parse
from attire.serve.live_bundle import Model
from attire.serve.problems import ProblemError
from attire.serve.schemas import LONGEST_TITLE
from attire.serve.schemas_v2 import InferAnswer, InferRequest, Output, Tensor, Wanted
from attire.serve.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"
PHOTO, TITLE = "pixels", "title"
OTHER_VALUES = 1000  # JSON values of a request besides its pixels


def json_limits(settings: Settings, model: Model) -> JsonLimits:
    """Return limits that fit the pixels of one product's photos. More photos should be sent as bytes."""
    height, width = model.bundle.preprocess.size_px
    numbers, arrays = 3 * height * width, 3 * (height + 1) + 1  # of one photo
    return JsonLimits(settings.photos * numbers + OTHER_VALUES, settings.photos * arrays + OTHER_VALUES)


def json_bytes(length: str | None) -> int | None:
    """Parse the header `HEADER_LENGTH`, the size of the JSON before the bytes; None means that all is JSON."""
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal()):
        raise ProblemError(400, f"{HEADER_LENGTH} is '{length[:20]}', expected a number of bytes.")
    return int(length[:20])


def read(body: bytearray, length: int | None, model: Model) -> tuple[InferRequest, Bytes, list[str]]:
    """Return the request, its pixels uint8[B, 3, H, W], and a title per photo or an empty list.

    `length` is the result of `json_bytes`. Raises `ProblemError` and `RequestValidationError`.
    """
    if length is not None and length > len(body):
        raise ProblemError(400, f"{HEADER_LENGTH} is {length}, but the body has {len(body)} bytes.")
    view = memoryview(body)
    request = parse(InferRequest, body if length is None else view[:length])
    rest = view[len(body) if length is None else length :]
    data: dict[str, list[Any] | memoryview] = {}
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            data[tensor.name] = tensor.data if tensor.data is not None else []
        elif not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            detail = f"{tensor.name[:100]}: binary_data_size is {str(size)[:20]}, but {len(rest)} bytes follow."
            raise ProblemError(422, detail)
        else:
            data[tensor.name], rest = rest[:size], rest[size:]
    tensors = {tensor.name: tensor for tensor in request.inputs}
    if len(tensors) < len(request.inputs):
        raise ProblemError(422, "The request has the same input twice. Send each input once.")
    known = (PHOTO, TITLE) if model.bundle.title_reader else (PHOTO,)
    if PHOTO not in tensors or any(name not in known for name in tensors):
        raise ProblemError(422, f"Expected the inputs {', '.join(known)}, got {', '.join(tensors)}"[:300])
    pixels = _read_pixels(tensors[PHOTO], data[PHOTO], model)
    titles = _read_titles(data[TITLE], len(pixels)) if TITLE in tensors else []
    return request, pixels, titles


def write(request: InferRequest, name: str, version: str, computed: dict[str, Floats]) -> Response:
    """Return the requested outputs, each as JSON or as bytes after it; raises `ProblemError` for an unknown output."""
    wanted: Sequence[Wanted] = [Wanted(name=each) for each in computed] if request.outputs is None else request.outputs
    if len({each.name for each in wanted}) < len(wanted):  # otherwise a few bytes could request gigabytes
        raise ProblemError(422, "The request names the same output twice. Name each output once.")
    binary_by_default = request.parameters.get("binary_data_output", False)
    outputs, tail = [], b""
    for output in wanted:
        if output.name not in computed:
            raise ProblemError(422, f"There is no output {output.name[:100]}; expected {', '.join(computed)}.")
        values = np.ascontiguousarray(computed[output.name], dtype="<f4")
        if output.parameters.get("binary_data", binary_by_default):
            sizes = {"binary_data_size": values.nbytes}
            outputs.append(Output(name=output.name, shape=list(values.shape), parameters=sizes))
            tail += values.tobytes()
        else:
            outputs.append(Output(name=output.name, shape=list(values.shape), data=values.ravel().tolist()))
    answer = InferAnswer(model_name=name, model_version=version, id=request.id, outputs=outputs)
    header = json.dumps(answer.model_dump(exclude_none=True)).encode()
    if not tail:
        return Response(header, media_type="application/json")
    return Response(header + tail, media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(header))})


def _read_pixels(tensor: Tensor, data: list[Any] | memoryview, model: Model) -> Bytes:
    height, width = model.bundle.preprocess.size_px
    batch = tensor.shape[0]
    if tensor.datatype != "UINT8" or tensor.shape[1:] != [3, height, width] or batch < 1:
        got = f"{tensor.datatype}{tensor.shape}"
        raise ProblemError(422, f"{PHOTO}: expected UINT8[B, 3, {height}, {width}] with B at least 1, got {got}"[:300])
    try:
        # `bytes` accepts numbers from 0 to 255 only.
        flat = data if isinstance(data, memoryview) else bytes(_flatten(data, tensor.shape))
        return np.frombuffer(flat, np.uint8).reshape(tensor.shape)
    except (ValueError, TypeError):
        detail = f"{PHOTO}: expected {batch * 3 * height * width} integers from 0 to 255, flat or nested by shape."
        raise ProblemError(422, detail) from None


def _flatten(data: list[Any], shape: Sequence[int]) -> list[Any]:
    """Flatten numbers that are flat or nested by `shape`; raises `ValueError` for another nesting."""
    if data and isinstance(data[0], list):
        for length in shape[1:]:
            if any(not isinstance(row, list) or len(row) != length for row in data):
                raise ValueError
            data = list(chain.from_iterable(data))
    return data


def _read_titles(data: list[Any] | memoryview, batch: int) -> list[str]:
    """Return titles from JSON strings, or from bytes with a little-endian length of four bytes before each title."""
    try:
        titles = _split_strings(data, batch) if isinstance(data, memoryview) else data
        if len(titles) != batch or not all(isinstance(title, str) and len(title) <= LONGEST_TITLE for title in titles):
            raise ValueError
        return titles
    except ValueError:
        detail = f"{TITLE}: expected {batch} strings of at most {LONGEST_TITLE} characters, one for each photo."
        raise ProblemError(422, detail) from None


def _split_strings(data: memoryview, count: int) -> list[str]:
    strings, offset = list[str](), 0
    for _ in range(count):
        start = offset + 4
        offset = start + int.from_bytes(data[offset:start], "little")
        strings.append(str(data[start:offset], "utf-8"))
    if offset != len(data):
        raise ValueError
    return strings
