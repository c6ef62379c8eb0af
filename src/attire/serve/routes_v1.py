"""The routes for shops: one product, many products, a heat map, the words, and the server's state."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from attire.errors import AttireError, BundleError, MissingExtraError
from attire.serve import json_bodies
from attire.serve.fairness import client_of
from attire.serve.json_bodies import Most
from attire.serve.problems import Problem, ProblemError, advice, described
from attire.serve.schemas import (
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

BUSY = (400, 401, 408, 413, 415, 421, 422, 500, 503, 504)  # how a request with a body may be refused

answers = APIRouter(prefix="/v1", tags=["predict"])
health = APIRouter(tags=["health"])
admin = APIRouter(prefix="/admin", tags=["admin"])


def service_of(request: Request) -> Service:
    """What `create_app` put there."""
    service: Service = request.app.state.service
    return service


@answers.post("/predict", responses=described(*BUSY))
async def predict(
    request: Request,
    photos: Annotated[list[UploadFile], File(description="JPEG, PNG or WebP; several of one product are averaged")],
    id: Annotated[str, Form(max_length=256, description="given back with the answer")] = "",
    title: Annotated[str, Form(max_length=LONGEST_TITLE, description=TITLE)] = "",
    category: Annotated[str | None, Form(max_length=256, description="the known one, which overrules")] = None,
    fill: Annotated[Fill, Form(description="all: answer every key that applies, however unsure")] = "sure",
    precision: Annotated[float | None, Form(gt=0, lt=1, description="how often answers are to be right")] = None,
) -> Product:
    """Category and attributes of one product, from its photos."""
    service, client = service_of(request), client_of(request.scope)
    _check_count(len(photos), service)
    model = service.model()
    async with service.admitted(client, len(photos)):
        question = Question(client, id, [await photo.read() for photo in photos], title, category)
        return await service.answer(model, question, _precision(service, fill, precision))


@answers.post("/predict/batch", responses=described(*BUSY), openapi_extra=json_bodies.described(BatchRequest))
async def predict_batch(request: Request) -> BatchAnswer:
    """Several products, with photos as base64 or (where the server allows their hosts) URLs; each fails alone."""
    service, client = service_of(request), client_of(request.scope)
    most = service.settings.products
    body = await json_bodies.read(request, _most(service.settings))
    batch = await service.run(client, json_bodies.parse, BatchRequest, body)
    if len(batch.products) > most:
        raise ProblemError(413, f"{len(batch.products)} products in one request: at most {most} are taken")
    for product in batch.products:
        _check_count(len(product.photos), service)
    model, precision = service.model(), _precision(service, batch.fill, batch.precision)

    async def result(product: BatchProduct) -> BatchResult:
        question = Question(client, product.id, product.photos, product.title, product.category)
        try:
            return BatchResult(id=product.id, product=await service.answer(model, question, precision))
        except AttireError as error:
            return BatchResult(id=product.id, problem=Problem.of(422, advice(error)))

    async with service.admitted(client, sum(len(product.photos) for product in batch.products)):
        return BatchAnswer(results=await asyncio.gather(*(result(product) for product in batch.products)))


@answers.post(
    "/explain",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **described(*BUSY, 501),
    },
)
async def explain(
    request: Request,
    photo: Annotated[UploadFile, File(description="JPEG, PNG or WebP")],
    key: Annotated[str | None, Form(max_length=256, description="the attribute key; without one the category")] = None,
    value: Annotated[str | None, Form(max_length=256, description="the value; without one the likeliest")] = None,
) -> Response:
    """Where in the photo an answer comes from: a PNG of the photo under a heat map (extra `explain`)."""
    service = service_of(request)
    try:
        content = await service.explain(client_of(request.scope), service.model(), await photo.read(), key, value)
    except MissingExtraError as error:
        raise ProblemError(501, f"this server makes no heat maps: {error}") from None
    return Response(content, media_type="image/png")


@answers.get("/taxonomy", responses=described(401, 500, 503))
async def taxonomy(request: Request) -> Words:
    """The categories, keys and values that the model can answer with."""
    bundle = service_of(request).model().bundle
    return Words.of(bundle.taxonomy, reads_titles=bundle.title_reader is not None)


@health.get("/healthz")
async def healthz() -> State:
    """The process lives."""
    return State()


@health.get("/readyz", responses=described(503))
async def readyz(request: Request) -> State:
    """A bundle is loaded, so that requests will be answered."""
    return State(bundle=service_of(request).model().version)


@health.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


@admin.post(
    "/reload",
    responses={
        202: {"model": State, "description": "it is good, and all workers are loading it: /metrics, attire_bundle"},
        **described(401, 409, 500),
    },
)
async def reload(request: Request, response: Response) -> State:
    """Load what now stands at the bundle's path, verify it, and let it answer; a broken one leaves the old in place."""
    service = service_of(request)
    source = service.settings.source
    try:
        if source is None:
            return State(bundle=(await service.models.load()).version)
        found = await service.models.verify(source)
        os.kill(os.getppid(), signal.SIGHUP)  # the parent copies it and tells all workers
        response.status_code = 202
        return State(status="reloading", bundle=found.version)
    except BundleError as error:
        raise ProblemError(409, f"the old bundle goes on answering: {error}") from None


def _check_count(photos: int, service: Service) -> None:
    if photos > service.settings.photos:
        raise ProblemError(413, f"{photos} photos of one product: at most {service.settings.photos} are taken")


def _precision(service: Service, fill: Fill, precision: float | None) -> float | None:
    if fill == "all":
        return None
    return service.settings.precision if precision is None else precision


def _most(settings: Settings) -> Most:
    """Of the JSON of a batch: every field of every product, and some for punctuation in titles."""
    return Most(settings.products * (settings.photos + 100), settings.products * (3 * settings.photos + 50))
