"""The application: routes, limits, keys and errors put together."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.formparsers import MultiPartParser
from starlette.middleware.cors import CORSMiddleware

from attire.errors import AttireError
from attire.memory import give_freed_memory_back, resident_bytes
from attire.serve.auth import Hosts, Keys, in_description
from attire.serve.fetch import Fetcher
from attire.serve.live_bundle import Load, Models, load_model
from attire.serve.logs import RequestLog
from attire.serve.metrics import Metrics
from attire.serve.problems import Problem, handle_errors
from attire.serve.request_limits import BodyLimits
from attire.serve.routes_v1 import admin, answers, health
from attire.serve.routes_v2 import v2
from attire.serve.schemas import BatchRequest
from attire.serve.schemas_v2 import InferRequest
from attire.serve.service import Service
from attire.serve.settings import MIB, Settings
from attire.serve.tryit import tryit

GIVE_BACK_S, SPARE_BYTES = 10, 200 * MIB  # how often it is looked at, and what batches may take beyond what is kept
DESCRIPTION = "Product photos in, catalog attributes out, with a confidence a team can act on."


def create_app(settings: Settings, *, load: Load = load_model, fetch: Fetcher | None = None) -> FastAPI:
    """An ASGI application that loads the bundle when it starts and again on SIGHUP.

    `load` and `fetch` are the edges that tests replace. Starting raises `AttireError` where the bundle is refused.
    """
    metrics = Metrics()
    models = Models(settings, metrics, load)
    MultiPartParser.spool_max_size = settings.body_bytes  # else photos above 1 MB would pass through a file

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings, models, metrics, fetch or Fetcher(settings))
        with _reloaded_on_hangup(models):
            keeping = asyncio.create_task(_memory_given_back())
            try:
                await models.load()
                yield
            finally:
                keeping.cancel()
                await asyncio.to_thread(service.close)
                await service.fetch.close()

    app = FastAPI(
        title="attire",
        version=version("attire"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to whatever the header Host says
    )
    keyed = [in_description("key", "A key of this server.")] if settings.keys else []
    if settings.admin_keys:
        app.include_router(admin, dependencies=[in_description("admin key", "A key of this server's operator.")])
    app.include_router(answers, dependencies=keyed)
    app.include_router(v2, dependencies=keyed)
    app.include_router(health)
    app.include_router(tryit(settings))
    handle_errors(app)
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Keys, needed={"/v1": settings.keys, "/v2": settings.keys, "/admin": settings.admin_keys})
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Hosts, settings=settings)
    app.add_middleware(RequestLog, metrics=metrics)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Add to the OpenAPI description the types that routes only refer to."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = plain()["components"]["schemas"]
            for model in (Problem, BatchRequest, InferRequest):
                made = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(made.pop("$defs", {}))
                schemas[model.__name__] = made
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


async def _memory_given_back() -> None:
    """What many large requests took goes back to the system, which `attire.memory` alone would keep for ever."""
    kept = resident_bytes()
    while True:
        await asyncio.sleep(GIVE_BACK_S)
        if resident_bytes() > kept + SPARE_BYTES:
            await asyncio.to_thread(give_freed_memory_back)
            kept = resident_bytes()


@contextlib.contextmanager
def _reloaded_on_hangup(models: Models) -> Any:
    """Load again on SIGHUP, where signals reach this thread."""
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def reload() -> None:
        with contextlib.suppress(AttireError):  # refused: it is in the log, and the old one stays
            await models.load()

    def hangup() -> None:
        task = loop.create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        loop.add_signal_handler(signal.SIGHUP, hangup)
    except (ValueError, RuntimeError, NotImplementedError):  # not the main thread, as in tests; or Windows
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
