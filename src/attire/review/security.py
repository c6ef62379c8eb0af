"""Access control: requests from this machine, or with the token, and none from pages of other sites."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from attire.errors import ConfigError
from attire.hosts import host_of, is_local
from attire.review.refusals import refusal

TOKEN = "attire-token"  # noqa: S105 - the name of the cookie
SHORTEST = 16  # characters of a token
TOKENS = re.compile(rf"[A-Za-z0-9._~-]{{{SHORTEST},}}")
SAFE = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = Callable[[Request], Awaitable[Response]]


def read_token(token: str, file: Path | None) -> str:
    """Return the token in the first line of `file` if there is one, else `token`, which may be "".

    Raises `ConfigError` for an unreadable file, and for a token that is too short or has characters that URLs encode.
    """
    name = "the token"
    if file is not None:
        name = f"the token in {file}"
        try:
            token = next(iter(file.read_text(encoding="utf-8").splitlines()), "").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {name}: {error}") from None
    if (token or file is not None) and not TOKENS.fullmatch(token):
        raise ConfigError(
            f"{name} must have at least {SHORTEST} letters, digits or characters of -._~ and nothing else. "
            "Make one with `openssl rand -hex 24`."
        )
    return token


def guard(app: FastAPI, *, host: str, token: str = "") -> None:
    """Add middleware that refuses foreign requests before anything else handles them, and sets security headers."""

    @app.middleware("http")
    async def _guard(request: Request, answer: Answer) -> Response:
        response = _refusal(request, local=is_local(host), token=token) or await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _refusal(request: Request, *, local: bool, token: str) -> Response | None:
    # A page of another site can make a browser send requests here: through a domain of its own that resolves to this
    # machine (DNS rebinding, the first check), or as cross-site requests (CSRF, the second check).
    if local and not is_local(host_of(request.headers.get("host", ""))):
        return refusal(421, "This page answers on 127.0.0.1 and localhost only.")
    if request.method not in SAFE and not _same_origin(request):
        return refusal(403, "Refused: this request did not come from attire's own page.")
    return _check_token(request, token) if token else None


def _same_origin(request: Request) -> bool:
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    host = request.headers.get("host", "")
    return request.headers.get("origin") in (f"http://{host}", f"https://{host}")


def _check_token(request: Request, token: str) -> Response | None:
    """Return None if the cookie has the token; a link with the token sets the cookie and redirects without it."""
    if hmac.compare_digest(request.cookies.get(TOKEN, "").encode(), token.encode()):
        return None
    if request.method in SAFE and hmac.compare_digest(request.query_params.get("token", "").encode(), token.encode()):
        query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
        response = RedirectResponse(f"{inside(request.scope['path'])}{f'?{query}' if query else ''}", 303)
        response.set_cookie(TOKEN, token, httponly=True, samesite="strict")
        return response
    return refusal(401, "The token is missing. Open the link that `attire review` printed; it contains the token.")


def inside(path: str) -> str:
    """Return `path` if it is on this site, else "/"; `//` and `/\\` would lead to another site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
