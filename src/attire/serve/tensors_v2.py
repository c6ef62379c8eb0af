"""How tensors travel in the Open Inference Protocol: as JSON, or as bytes behind it (binary tensor extension)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from fastapi import Response

from attire.engines.engine import Bytes, Floats
from attire.serve.json_bodies import Most, parse
from attire.serve.live_bundle import Model
from attire.serve.problems import ProblemError
from attire.serve.schemas import LONGEST_TITLE
from attire.serve.schemas_v2 import InferAnswer, InferRequest, Output, Tensor, Wanted
from attire.serve.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"
PHOTO, TITLE = "pixels", "title"
BESIDE = 1000  # JSON values of a request beside its pixels


def most(settings: Settings, model: Model) -> Most:
    """How much JSON is taken: pixels of as many photos as a product has. More travel as bytes, at a hundredth of it."""
    height, width = model.bundle.preprocess.size_px
    numbers, arrays = 3 * height * width, 3 * (height + 1) + 1  # of one photo
    return Most(settings.photos * numbers + BESIDE, settings.photos * arrays + BESIDE)


def json_bytes(length: str | None) -> int | None:
    """Where the JSON ends and bytes begin, by the header `HEADER_LENGTH`; None where it is all JSON."""
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal()):
        raise ProblemError(400, f"{HEADER_LENGTH} is '{length[:20]}', expected a number of bytes")
    return int(length[:20])


def read(body: bytearray, length: int | None, model: Model) -> tuple[InferRequest, Bytes, list[str]]:
    """The request, its pixels uint8[B, 3, H, W], and a title for each or none at all.

    `length`: where the JSON ends, as `json_bytes` has it. Raises `ProblemError` and `RequestValidationError`.
    """
    if length is not None and length > len(body):
        raise ProblemError(400, f"{HEADER_LENGTH} is {length}, but the body has {len(body)} bytes")
    whole = memoryview(body)
    asked = parse(InferRequest, body if length is None else whole[:length])
    rest = whole[len(body) if length is None else length :]
    given: dict[str, list[Any] | memoryview] = {}
    for tensor in asked.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            given[tensor.name] = tensor.data if tensor.data is not None else []
        elif not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            said = str(size)[:20]
            raise ProblemError(422, f"{tensor.name[:100]}: binary_data_size is {said}, but {len(rest)} bytes follow")
        else:
            given[tensor.name], rest = rest[:size], rest[size:]
    tensors = {tensor.name: tensor for tensor in asked.inputs}
    if len(tensors) < len(asked.inputs):
        raise ProblemError(422, "an input of that name comes twice")
    known = (PHOTO, TITLE) if model.bundle.title_reader else (PHOTO,)
    if PHOTO not in tensors or any(name not in known for name in tensors):
        raise ProblemError(422, f"expected the inputs {', '.join(known)}, came {', '.join(tensors)}"[:300])
    pixels = _pixels(tensors[PHOTO], given[PHOTO], model)
    titles = _titles(given[TITLE], len(pixels)) if TITLE in tensors else []
    return asked, pixels, titles


def write(asked: InferRequest, name: str, version: str, computed: dict[str, Floats]) -> Response:
    """The outputs that were asked for, each as JSON or as bytes behind it; raises `ProblemError` for another one."""
    wanted: Sequence[Wanted] = [Wanted(name=each) for each in computed] if asked.outputs is None else asked.outputs
    if len({each.name for each in wanted}) < len(wanted):  # else a few bytes would ask for gigabytes
        raise ProblemError(422, "an output is asked for twice")
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
        flat = data if isinstance(data, memoryview) else bytes(_flat(data, tensor.shape))  # which takes 0 to 255 only
        return np.frombuffer(flat, np.uint8).reshape(tensor.shape)
    except (ValueError, TypeError):
        detail = f"{PHOTO}: expected {batch * 3 * height * width} whole numbers from 0 to 255, flat or nested"
        raise ProblemError(422, detail) from None


def _flat(data: list[Any], shape: Sequence[int]) -> list[Any]:
    """Numbers that come flat, or nested by their shape; raises `ValueError` for nested ones of another shape."""
    if data and isinstance(data[0], list):
        for length in shape[1:]:
            if any(not isinstance(part, list) or len(part) != length for part in data):
                raise ValueError
            data = list(chain.from_iterable(data))
    return data


def _titles(data: list[Any] | memoryview, batch: int) -> list[str]:
    """As JSON strings, or each behind its length in four bytes, the lowest first."""
    try:
        words = _words(data, batch) if isinstance(data, memoryview) else data
        if len(words) != batch or not all(isinstance(word, str) and len(word) <= LONGEST_TITLE for word in words):
            raise ValueError
        return words
    except ValueError:
        detail = f"{TITLE}: expected {batch} strings of at most {LONGEST_TITLE} characters, one for each photo"
        raise ProblemError(422, detail) from None


def _words(data: memoryview, number: int) -> list[str]:
    words, place = list[str](), 0
    for _ in range(number):
        start = place + 4
        place = start + int.from_bytes(data[place:start], "little")
        words.append(str(data[start:place], "utf-8"))
    if place != len(data):
        raise ValueError
    return words
