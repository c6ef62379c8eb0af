"""Limits JSON bodies while they arrive, because parsed JSON takes up to a hundred times its size.

`[1],` becomes 300 bytes of objects. So values and objects are counted by their delimiters before anything is parsed.
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
FAULTS = 20  # reported for one body


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """Limits of one JSON document."""

    values: int  # of any kind, counted by commas
    objects: int  # objects, arrays and strings, each of which takes more memory than a number


def openapi_body(kind: type[BaseModel]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads its body with this module."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read(request: Request, limits: JsonLimits, json_bytes: int | None = None) -> bytearray:
    """Read a body whose first `json_bytes` (None: all) are JSON; raises `ProblemError` above the limits."""
    body = bytearray()
    values = objects = 0
    try:
        async for chunk in request.stream():
            text = chunk if json_bytes is None else chunk[: max(0, json_bytes - len(body))]
            values += text.count(b",")
            objects += text.count(b"[") + text.count(b"{") + text.count(b'"') // 2
            if values > limits.values or objects > limits.objects:
                error = ProblemError(
                    413,
                    f"The JSON is too large: at most {limits.values:,} values are accepted, and {limits.objects:,} of "
                    "them may be objects, arrays or strings. Send tensors as bytes (binary tensor extension), and "
                    "products in several requests.",
                )
                error.headers = {"Connection": "close"}  # the rest will not be read
                raise error
            body += chunk
    except ClientDisconnect:
        raise ProblemError(400, "The body ended too early.") from None
    return body


def parse(kind: type[Content], body: bytes | bytearray | memoryview) -> Content:
    """Parse and validate the JSON document as `kind`; raises `RequestValidationError`."""
    try:
        return kind.model_validate_json(bytes(body) if isinstance(body, memoryview) else body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:FAULTS]
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None
