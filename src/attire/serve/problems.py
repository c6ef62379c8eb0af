"""Every error as a problem document (RFC 9457, `application/problem+json`), whoever raised it."""

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
PROTOCOL = "/v2"  # below it the Open Inference Protocol wants its own member `error`


class Problem(BaseModel):
    """What went wrong, what was expected and what to do (RFC 9457)."""

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
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what was expected, what came, what to do")
    errors: list[str] | None = Field(None, description="all faults, where there are several")
    error: str | None = Field(None, description="the same as `detail`, below /v2 only")

    @classmethod
    def of(cls, status: int, detail: str, errors: list[str] | None = None) -> Problem:
        return cls(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)


class ProblemError(HTTPException):
    """A request that is refused, with the reason."""

    def __init__(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(status, detail, headers)


def response(problem: Problem, path: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The problem as an answer to a request for `path`."""
    if path.startswith(PROTOCOL):
        problem = problem.model_copy(update={"error": problem.detail})
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, problem.status, headers=headers, media_type=MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Let `app` answer every error with a problem."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:  # the framework's, which says nothing more
            detail = f"{request.method} {_path(request)[:200]}: {detail.lower()}. What there is: /openapi.json"
        return response(Problem.of(error.status_code, detail), _path(request), dict(error.headers or {}))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        faults = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:20]]
        problem = Problem.of(422, f"the request does not fit the API's description: {faults[0]}", faults)
        return response(problem, _path(request))

    async def unfit(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, AttireError)
        return response(Problem.of(422, advice(error)), _path(request))

    async def broken(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - it is logged, not told
        detail = "a fault of the server, which its log describes. Try again; if it stays, tell its operator."
        return response(Problem.of(500, detail), _path(request))

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(AttireError, unfit)
    app.add_exception_handler(Exception, broken)


def advice(error: AttireError) -> str:
    """What an error says, and where the client finds the words that there are."""
    return f"{error} GET /v1/taxonomy tells the words." if isinstance(error, TaxonomyError) else str(error)


def _path(request: Request) -> str:
    path: str = request.scope["path"]  # `request.url` has the header Host in it, which may be anything
    return path


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may be refused in these ways, for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in sorted(statuses)
    }
