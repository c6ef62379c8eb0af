"""The part of the API with which the page learns from decisions: start, follow, and go on with the new predictions."""

from __future__ import annotations

import threading
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from attire.review.context import Context, ReviewContext, Reviewer, context_of
from attire.review.learner import Learner
from attire.review.opening import go_on

learning = APIRouter(prefix="/api/learn")
_switching = threading.Lock()


class Learning(BaseModel):
    """Where learning is: idle, running, finished or failed, and that part of the page as HTML."""

    model_config = ConfigDict(frozen=True)

    state: str
    html: str


@learning.get("")
def follow(context: Context, _reviewer: Reviewer) -> Learning:
    """Return how far learning is."""
    return _drawn(context)


@learning.post("")
def start(context: Context, _reviewer: Reviewer) -> Learning:
    """Start learning; raises `ConfigError` if it is under way."""
    _learner(context).start()
    return _drawn(context)


@learning.post("/continue")
def use_new_predictions(request: Request, _reviewer: Reviewer) -> Learning:
    """Show the new predictions from now on, to all reviewers. Decisions and leases stay."""
    with _switching:  # the second of two reviewers who want this finds it done
        context = context_of(request)
        outcome = _learner(context).view(context.store).outcome
        if outcome is not None:
            context = go_on(context, Path(outcome.predictions), Path(outcome.bundle))
            request.app.state.context = context
    return _drawn(context)


def _learner(context: ReviewContext) -> Learner:
    if context.learner is None:
        raise HTTPException(422, "Learning needs a bundle. Start the page with attire review ... --bundle BUNDLE.")
    return context.learner


def _drawn(context: ReviewContext) -> Learning:
    view = _learner(context).view(context.store)
    return Learning(state=view.state, html=context.draw("learn.html", learning=view))
