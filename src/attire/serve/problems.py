"""Turns every error into a problem document (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from attire.errors import AttireError, TaxonomyError

MEDIA_TYPE = "application/problem+json"
PROTOCOL = "/v2"  # below it, the Open Inference Protocol requires the additional member `error`


class Problem(BaseModel):
    """An error response: what went wrong, what was expected and what to do (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "photo 1: truncated: the file ends too early",
            }
        }
    )

    type: str = "about:blank"
    title: str = Field(description="the HTTP status in words")
    status: int
    detail: str = Field(description="what was expected, what came and what to do")
    errors: list[str] | None = Field(None, description="all validation errors of the request")
    error: str | None = Field(None, description="the same text as `detail`, only below /v2")

    @classmethod
    def of(cls, status: int, detail: str, errors: list[str] | None = None) -> Problem:
        return cls(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)


class ProblemError(HTTPException):
    """A refused request: HTTP status, reason, and optionally when to try again."""

    def __init__(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(status, detail, headers)


def response(problem: Problem, path: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return `problem` as the response to a request for `path`."""
    if path.startswith(PROTOCOL):
        problem = problem.model_copy(update={"error": problem.detail})
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, problem.status, headers=headers, media_type=MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Let `app` answer every error with a problem document."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:  # the framework's default, which only repeats the title
            detail = f"{request.method} {_path(request)[:200]}: {detail.lower()}. See /openapi.json for all routes."
        return response(Problem.of(error.status_code, detail), _path(request), dict(error.headers or {}))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:20]]
        problem = Problem.of(422, f"The request does not match the API description: {faults[0]}", faults)
        return response(problem, _path(request))

    async def unprocessable(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, AttireError)
        return response(Problem.of(422, advice(error)), _path(request))

    async def internal(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - only the log describes it
        detail = "Internal error; the server's log has the details. Try again, and tell the operator if it persists."
        return response(Problem.of(500, detail), _path(request))

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(AttireError, unprocessable)
    app.add_exception_handler(Exception, internal)


def advice(error: AttireError) -> str:
    """Return the error's message, for an unknown word with a pointer to the list of valid words."""
    return f"{error} GET /v1/taxonomy lists all words." if isinstance(error, TaxonomyError) else str(error)


def _path(request: Request) -> str:
    path: str = request.scope["path"]  # `request.url` contains the Host header, which may be anything
    return path


def openapi_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route that may be refused with these statuses, for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in sorted(statuses)
    }
