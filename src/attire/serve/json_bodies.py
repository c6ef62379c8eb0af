"""JSON bodies, counted while they arrive: what is parsed holds a hundred times the bytes that it came as.

`[1],` becomes 300 bytes of objects. So their number is bounded before there are any, by the bytes that begin them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from attire.serve.problems import ProblemError

Content = TypeVar("Content", bound=BaseModel)
FAULTS = 20  # told of one body


@dataclass(frozen=True, slots=True)
class Most:
    """What one JSON document may consist of."""

    values: int  # of any kind, by their commas
    objects: int  # and arrays and strings, each of which takes more than a number


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is read here."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read(request: Request, most: Most, json_bytes: int | None = None) -> bytearray:
    """The body, of which the first `json_bytes` (None: all) are JSON; raises `ProblemError` where that is too much."""
    body = bytearray()
    values = objects = 0
    try:
        async for chunk in request.stream():
            text = chunk if json_bytes is None else chunk[: max(0, json_bytes - len(body))]
            values += text.count(b",")
            objects += text.count(b"[") + text.count(b"{") + text.count(b'"') // 2
            if values > most.values or objects > most.objects:
                error = ProblemError(
                    413,
                    f"too much JSON: at most {most.values:,} values are taken, {most.objects:,} of them objects, "
                    "arrays or strings. Send tensors as bytes (binary tensor extension), products in several requests.",
                )
                error.headers = {"Connection": "close"}  # the rest will not be read
                raise error
            body += chunk
    except ClientDisconnect:
        raise ProblemError(400, "the body ended too early") from None
    return body


def parse(kind: type[Content], body: bytes | bytearray | memoryview) -> Content:
    """The JSON document as `kind`; raises `RequestValidationError`."""
    try:
        return kind.model_validate_json(bytes(body) if isinstance(body, memoryview) else body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:FAULTS]
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None
