"""Turns a request's photos into an answer: admission, decoding, batched inference, decision."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from attire.engines.engine import Bytes, Floats
from attire.errors import ConfigError, MissingExtraError, PhotoError
from attire.score.promise import Promise
from attire.serve.answer_watch import AnswerWatch
from attire.serve.batching import Batcher, FullError
from attire.serve.compute_threads import once
from attire.serve.decoder_pool import Decoders
from attire.serve.fairness import Room
from attire.serve.fetch import Fetcher
from attire.serve.live_bundle import Model, Models
from attire.serve.metrics import Metrics
from attire.serve.problems import ProblemError
from attire.serve.schemas import Fault, InlinePhoto, Product, UrlPhoto
from attire.serve.settings import Settings
from attire.taxonomy import CATEGORY

logger = logging.getLogger(__name__)
T = TypeVar("T")
FETCHES = 32  # photos that are fetched or decoded from URLs at once
EXPLANATIONS = 4  # heat maps at once: each takes a forward and a backward pass outside the batches


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one product: its client, encoded photos or their URLs, and optional title and category."""

    client: str
    id: str
    photos: Sequence[bytes | InlinePhoto | UrlPhoto]
    title: str = ""
    category: str | None = None


class Service:
    """State and resources shared by all routes. Nothing of a request is kept after its answer."""

    def __init__(self, settings: Settings, models: Models, metrics: Metrics, fetch: Fetcher) -> None:
        self.settings, self.models, self.metrics, self.fetch = settings, models, metrics, fetch
        self.batcher = Batcher(metrics, max_batch=settings.max_batch, capacity=settings.queue_photos)
        self.watch = AnswerWatch(settings, metrics)
        self._decoders = Decoders(settings)
        self._fetches = asyncio.Semaphore(FETCHES)
        self._explainer = ThreadPoolExecutor(1, "explain")
        self._explanations = Room(EXPLANATIONS)

    def close(self) -> None:
        """Cancel queued decoding, compute the queued photos, and stop."""
        self._decoders.close()
        self._explainer.shutdown(cancel_futures=True)
        self.batcher.close()
        self.watch.close()

    async def run(self, client: str, job: Callable[..., T], *args: object) -> T:
        """Run a blocking job in a thread when it is the client's turn."""
        return await self._decoders.run(client, partial(job, *args))

    def model(self) -> Model:
        """Return the current model."""
        if self.models.model is None:
            raise ProblemError(503, "The model is still loading. Try again.", retry_after_s=2)
        return self.models.model

    @asynccontextmanager
    async def admitted(self, client: str, photos: int) -> AsyncIterator[None]:
        """Reserve room for `photos` and apply the deadline; raises `ProblemError` 413, 503 or 504."""
        limit = max(1, self.settings.queue_photos // 2)
        if photos > limit:
            raise ProblemError(413, f"The request has {photos} photos: at most {limit} are accepted.")
        try:
            with self.batcher.admit(client, photos):
                async with asyncio.timeout(self.settings.deadline_s):
                    yield
        except FullError as error:
            detail = (
                f"{error.waiting} photos are waiting already, and no client may hold more than it leaves free. "
                "Try again later."
            )
            raise ProblemError(503, detail, retry_after_s=error.retry_after_s) from None
        except TimeoutError:
            detail = f"No answer within {self.settings.deadline_s:g} s. Try again later or with fewer photos."
            raise ProblemError(504, detail) from None

    async def logits(
        self, client: str, model: Model, pixels: Sequence[Bytes], titles: Sequence[str] = ()
    ) -> tuple[Floats, Floats]:
        """Compute logits float32[B, C] and float32[B, K] of admitted photos uint8[3, H, W].

        `titles` has one title per photo or is empty. A bundle that reads titles then gets empty titles, which do not
        change the logits, so that photos with and without titles share batches.
        """
        reader, text = model.bundle.title_reader, [None] * len(pixels)
        if reader is not None:
            text = list(await self.run(client, reader, titles or [""] * len(pixels)))
        futures = self.batcher.submit(client, model.engine, list(zip(pixels, text, strict=True)))
        rows = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
        category, attributes = (np.stack(logits) for logits in zip(*rows, strict=True))
        return category, attributes

    async def answer(self, model: Model, question: Question, promise: Promise | None) -> Product:
        """Answer an admitted question; raises `AttireError` for bad photos, an unknown word or an unusable title."""
        bundle, known = model.bundle, None
        if question.category is not None:
            # In a thread, because finding a "did you mean" hint is slow.
            known = await self.run(question.client, bundle.taxonomy.category, question.category)
        if bundle.calibration and promise is not None and promise is not self.settings.promise:
            # In a thread, because thresholds are fitted when a promise is made for the first time. Those of the
            # server's own promise were fitted when the bundle was loaded.
            await self.run(question.client, bundle.thresholds, promise)
        if question.title and bundle.title_reader is None:
            raise ConfigError("this model reads photos only. Send the request without a title.")
        results = await asyncio.gather(*(self._decode(question.client, model, photo) for photo in question.photos))
        errors = {n: result for n, result in enumerate(results, 1) if isinstance(result, PhotoError)}
        faults = [Fault(photo=n, reason=str(error)) for n, error in errors.items()]
        pixels = [result for result in results if not isinstance(result, PhotoError)]
        self.metrics.photos.labels("refused").inc(len(faults))
        self.metrics.photos.labels("used").inc(len(pixels))
        if not pixels:
            raise PhotoError("; ".join(f"photo {fault.photo}: {fault.reason}" for fault in faults) or "no photo")
        titles = [question.title] * len(pixels) if question.title else []
        logits = await self.logits(question.client, model, pixels, titles)
        category, attributes = (rows.mean(axis=0) for rows in logits)
        self.watch.add(model, category, attributes)
        answer = bundle.answer(category, attributes, promise, known_category=known, id=question.id)
        return Product.of(answer, faults, model.version)

    async def explain(self, client: str, model: Model, photo: bytes, key: str | None, value: str | None) -> bytes:
        """Return a PNG of the photo with a heat map of the evidence for the value; raises `AttireError`."""
        if not self._explanations.take(client, 1):
            raise ProblemError(503, "The server is busy with other heat maps. Try again later.", retry_after_s=2)
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                shown = await self._decoders.view(client, photo)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._explainer, once, _heat_map, model, shown, key, value)
        except TimeoutError:
            raise ProblemError(504, f"No heat map within {self.settings.deadline_s:g} s. Try again later.") from None
        finally:
            self._explanations.give(client, 1)

    async def _decode(self, client: str, model: Model, photo: bytes | InlinePhoto | UrlPhoto) -> Bytes | PhotoError:
        preprocess = model.bundle.preprocess
        try:
            if isinstance(photo, UrlPhoto):
                async with self._fetches:  # until it is decoded: body limits do not cover fetched photos
                    return await self._decoders.decode(client, await self.fetch(photo.url), preprocess)
            content = photo if isinstance(photo, bytes) else await self.run(client, self._decode_base64, photo)
            return await self._decoders.decode(client, content, preprocess)
        except PhotoError as error:
            return error

    def _decode_base64(self, photo: InlinePhoto) -> bytes:
        if len(photo.base64) * 3 / 4 > self.settings.photo_bytes + 3:
            raise PhotoError(f"too large: at most {self.settings.photo_bytes:,} bytes are accepted")
        try:
            return base64.b64decode(photo.base64, validate=True)
        except ValueError:
            raise PhotoError("not valid base64") from None


def can_explain() -> bool:
    """Return whether the extra `explain` is installed."""
    try:
        import attire.explanation.hirescam  # noqa: F401
    except ImportError:
        return False
    return True


def _heat_map(model: Model, photo: bytes | Bytes, key: str | None, value: str | None) -> bytes:
    import io

    from PIL import Image

    from attire.explanation.explain import explain
    from attire.explanation.picture import overlay

    if not can_explain():
        raise MissingExtraError("a heat map", "explain")
    explanation = explain(
        model.bundle, photo if isinstance(photo, bytes) else Image.fromarray(photo), key or CATEGORY, value
    )
    content = io.BytesIO()
    overlay(explanation.photo, explanation.heat).save(content, "PNG", compress_level=3)
    return content.getvalue()
