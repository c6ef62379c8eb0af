"""Routes of /v1 (predict, explain, taxonomy), health checks, metrics and administration."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from attire.errors import AttireError, BundleError, MissingExtraError, ShelfError
from attire.score.promise import Promise
from attire.serve import json_bodies
from attire.serve.fairness import client_of
from attire.serve.json_bodies import JsonLimits
from attire.serve.problems import Problem, ProblemError, advice, openapi_problems
from attire.serve.schemas import (
    KNOWN_CATEGORY,
    LONGEST_TITLE,
    TITLE,
    BatchAnswer,
    BatchProduct,
    BatchRequest,
    BatchResult,
    Fill,
    Product,
    State,
    Words,
)
from attire.serve.service import Question, Service
from attire.serve.settings import Settings

BUSY = (400, 401, 408, 413, 415, 421, 422, 500, 503, 504)  # error statuses of a route with a body

answers = APIRouter(prefix="/v1", tags=["predict"])
health = APIRouter(tags=["health"])
admin = APIRouter(prefix="/admin", tags=["admin"])


def service_of(request: Request) -> Service:
    """Return the application's `Service`."""
    service: Service = request.app.state.service
    return service


@answers.post("/predict", responses=openapi_problems(*BUSY))
async def predict(
    request: Request,
    photos: Annotated[list[UploadFile], File(description="JPEG, PNG or WebP; several of one product are averaged")],
    id: Annotated[str, Form(max_length=256, description="returned with the answer")] = "",
    title: Annotated[str, Form(max_length=LONGEST_TITLE, description=TITLE)] = "",
    category: Annotated[str | None, Form(max_length=256, description=KNOWN_CATEGORY)] = None,
    fill: Annotated[Fill, Form(description="all: answer every key that applies, even with low confidence")] = "sure",
    precision: Annotated[float | None, Form(ge=0.5, le=0.999, description="promised share of right answers")] = None,
) -> Product:
    """Predict the category and attributes of one product from its photos."""
    service, client = service_of(request), client_of(request.scope)
    _check_count(len(photos), service)
    model = service.model()
    async with service.admitted(client, len(photos)):
        question = Question(client, id, [await photo.read() for photo in photos], title, category)
        return await service.answer(model, question, _promise(service, fill, precision))


@answers.post("/predict/batch", responses=openapi_problems(*BUSY), openapi_extra=json_bodies.openapi_body(BatchRequest))
async def predict_batch(request: Request) -> BatchAnswer:
    """Predict several products, each on its own. Photos are base64 or URLs of hosts that the server allows."""
    service, client = service_of(request), client_of(request.scope)
    limit = service.settings.products
    body = await json_bodies.read(request, _json_limits(service.settings))
    batch = await service.run(client, json_bodies.parse, BatchRequest, body)
    if len(batch.products) > limit:
        raise ProblemError(413, f"The request has {len(batch.products)} products: at most {limit} are accepted.")
    for product in batch.products:
        _check_count(len(product.photos), service)
    model, promise = service.model(), _promise(service, batch.fill, batch.precision)

    async def result(product: BatchProduct) -> BatchResult:
        question = Question(client, product.id, product.photos, product.title, product.category)
        try:
            return BatchResult(id=product.id, product=await service.answer(model, question, promise))
        except AttireError as error:
            return BatchResult(id=product.id, problem=Problem.of(422, advice(error)))

    async with service.admitted(client, sum(len(product.photos) for product in batch.products)):
        return BatchAnswer(results=await asyncio.gather(*(result(product) for product in batch.products)))


@answers.post(
    "/explain",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **openapi_problems(*BUSY, 501),
    },
)
async def explain(
    request: Request,
    photo: Annotated[UploadFile, File(description="JPEG, PNG or WebP")],
    key: Annotated[str | None, Form(max_length=256, description="the attribute key; default: the category")] = None,
    value: Annotated[str | None, Form(max_length=256, description="the value; default: the most likely one")] = None,
) -> Response:
    """Return the photo with a heat map of the evidence for a value, as PNG. Needs the extra `explain`."""
    service = service_of(request)
    try:
        content = await service.explain(client_of(request.scope), service.model(), await photo.read(), key, value)
    except MissingExtraError as error:
        raise ProblemError(501, f"This server cannot make heat maps: {error}") from None
    return Response(content, media_type="image/png")


@answers.get("/taxonomy", responses=openapi_problems(401, 500, 503))
async def taxonomy(request: Request) -> Words:
    """Return the categories, keys and values of the model."""
    bundle = service_of(request).model().bundle
    return Words.of(bundle.taxonomy, reads_titles=bundle.title_reader is not None)


@health.get("/healthz")
async def healthz() -> State:
    """Return 200 while the process is alive."""
    return State()


@health.get("/readyz", responses=openapi_problems(503))
async def readyz(request: Request) -> State:
    """Return 200 once a bundle is loaded and requests are answered."""
    return State(bundle=service_of(request).model().version)


@health.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Return metrics for Prometheus."""
    service = service_of(request)
    await asyncio.wrap_future(service.watch.count())
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


@admin.post(
    "/reload",
    responses={
        202: {
            "model": State,
            "description": "The bundle is valid and all workers are loading it; see attire_bundle in /metrics.",
        },
        **openapi_problems(401, 409, 500),
    },
)
async def reload(request: Request, response: Response) -> State:
    """Load and verify the bundle at its path and switch to it. If it is broken, the old one stays in use."""
    service = service_of(request)
    source = service.settings.source
    try:
        if source is None:
            return State(bundle=(await service.models.load()).version)
        model = await service.models.verify(source)
        os.kill(os.getppid(), signal.SIGHUP)  # the supervisor copies the bundle and notifies all workers
        response.status_code = 202
        return State(status="reloading", bundle=model.version)
    except (BundleError, ShelfError) as error:
        raise ProblemError(409, f"The new bundle was refused and the old one stays in use: {error}") from None


def _check_count(photos: int, service: Service) -> None:
    if photos > service.settings.photos:
        raise ProblemError(413, f"A product has {photos} photos: at most {service.settings.photos} are accepted.")


def _promise(service: Service, fill: Fill, precision: float | None) -> Promise | None:
    """The server's promise, with another precision for all keys if the request wants one."""
    if fill == "all":
        return None
    if precision is None:
        return service.settings.promise
    promise = service.settings.promise or Promise()
    return promise.model_copy(update={"precision": precision, "keys": {}})


def _json_limits(settings: Settings) -> JsonLimits:
    """Return limits that fit every field of every product of a batch, with room for punctuation in titles."""
    return JsonLimits(settings.products * (settings.photos + 100), settings.products * (3 * settings.photos + 50))
