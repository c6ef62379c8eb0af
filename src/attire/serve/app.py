"""Builds the ASGI application from routes, limits, API keys and error handlers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
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
from attire.serve.watched_shelf import CHECK_S, WatchedShelf

# How often memory is checked, and how much batches may use above the baseline before freed memory is returned.
GIL_S = 0.0005  # torch takes the GIL between layers: with Python's 5 ms, a busy event loop would delay each of them
GIVE_BACK_S, SPARE_BYTES = 10, 200 * MIB
DESCRIPTION = "Product photos in, catalog attributes out, with calibrated confidences."


def create_app(settings: Settings, *, load: Load = load_model, fetch: Fetcher | None = None) -> FastAPI:
    """Create an ASGI application that loads the bundle at startup and again on SIGHUP.

    Tests replace `load` and `fetch`. Startup raises `AttireError` if the bundle is refused.
    """
    metrics = Metrics()
    models = Models(settings, metrics, load)
    MultiPartParser.spool_max_size = settings.body_bytes  # otherwise photos above 1 MB are written to a file

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings, models, metrics, fetch or Fetcher(settings))
        shelf = WatchedShelf(settings.bundle)  # before the bundle is loaded, so that no promotion is missed
        with _reload_on_hangup(models):
            memory_task = asyncio.create_task(_return_memory())
            shelf_task = asyncio.create_task(_follow(shelf, models))
            interval_s = sys.getswitchinterval()
            sys.setswitchinterval(GIL_S)
            try:
                await models.load()
                yield
            finally:
                sys.setswitchinterval(interval_s)
                memory_task.cancel()
                shelf_task.cancel()
                await asyncio.to_thread(service.close)
                await service.fetch.close()

    app = FastAPI(
        title="attire",
        version=version("attire"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # both pages load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # the redirect would go to whatever the Host header says
    )
    key_dependency = [in_description("key", "An API key of this server.")] if settings.keys else []
    if settings.admin_keys:
        app.include_router(admin, dependencies=[in_description("admin key", "An admin key of this server.")])
    app.include_router(answers, dependencies=key_dependency)
    app.include_router(v2, dependencies=key_dependency)
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
    """Add types that routes only reference to the OpenAPI description."""
    default_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = default_openapi()["components"]["schemas"]
            for model in (Problem, BatchRequest, InferRequest):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


async def _return_memory() -> None:
    """Return memory to the system after bursts of large requests; the settings of `attire.memory` would keep it."""
    baseline, wait_s = resident_bytes(), GIVE_BACK_S
    while True:
        await asyncio.sleep(wait_s)
        before = resident_bytes()
        if before > baseline + SPARE_BYTES:
            await asyncio.to_thread(give_freed_memory_back)
            # What is still in use is tried again later, less often if little came back.
            useful = before - resident_bytes() > SPARE_BYTES / 4
            wait_s = GIVE_BACK_S if useful else min(2 * wait_s, 8 * GIVE_BACK_S)


async def _reload(models: Models) -> None:
    with contextlib.suppress(AttireError):  # logged by `load`; the old bundle stays
        await models.load()


async def _follow(shelf: WatchedShelf, models: Models) -> None:
    """Reload the bundle whenever the shelf has another present version.

    Several workers have the path of a copy, which is no shelf: their supervisor follows it.
    """
    while True:
        await asyncio.sleep(CHECK_S)
        if await asyncio.to_thread(shelf.changed):
            await _reload(models)


@contextlib.contextmanager
def _reload_on_hangup(models: Models) -> Any:
    """Reload the bundle on SIGHUP, if this thread can receive signals."""
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def hangup() -> None:
        task = loop.create_task(_reload(models))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        loop.add_signal_handler(signal.SIGHUP, hangup)
    except (ValueError, RuntimeError, NotImplementedError):  # not in the main thread (tests), or on Windows
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
