"""Turns every error of the application into a status and a sentence in plain text."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from attire.errors import AttireError, CatalogError, PhotoError, ReviewStoreError

STATUS: dict[type[AttireError], int] = {CatalogError: 404, PhotoError: 404, ReviewStoreError: 503}
OTHER = 422
LONGEST = 1000  # characters of a sentence, which may quote the client's text


def refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as a response; characters that UTF-8 cannot encode are escaped."""
    content = sentence[:LONGEST].encode("utf-8", "backslashreplace")
    return Response(content, status, headers=dict(headers or {}), media_type="text/plain; charset=utf-8")


def refuse_by_error(app: FastAPI) -> None:
    """Answer with a refusal if a route raises an error of attire, or if a request is invalid."""

    @app.exception_handler(AttireError)
    def _attire(_request: Request, error: AttireError) -> Response:
        sentence = f"The photo cannot be read: {error}." if isinstance(error, PhotoError) else str(error)
        return refusal(STATUS.get(type(error), OTHER), sentence)

    # For example, all connections are busy; errors of the database itself are a ReviewStoreError.
    @app.exception_handler(SQLAlchemyError)
    def _store(_request: Request, error: SQLAlchemyError) -> Response:
        return refusal(STATUS[ReviewStoreError], f"The store cannot be used: {error}. Try again.")

    @app.exception_handler(RequestValidationError)
    def _request(_request: Request, error: RequestValidationError) -> Response:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return refusal(OTHER, "; ".join(faults))

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> Response:
        return refusal(error.status_code, str(error.detail), error.headers)
