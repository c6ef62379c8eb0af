"""The prior against counting by hand, and a network that says what is usual before it has learned anything."""

from __future__ import annotations

import pytest
import torch

from attire.config import Architecture
from attire.labels import Targets, encode
from attire.model.network import Heads
from attire.model.prior import BORROWED, log_prior
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "neck": Key(categories=("Shirts",), values=("Round", "V")),
        "tags": Key(arity="many", categories=("Shirts", "Belts"), values=("a", "b")),
    },
)
LABELS: list[dict[str, tuple[str, ...]]] = [
    {"neck": ("Round",), "tags": ("a", "b")},
    {"neck": ("Round",), "tags": ("a",)},
    {"neck": ("V",)},
    {},
]
TARGETS = Targets._make(map(torch.from_numpy, encode(TAXONOMY, ["Shirts", "Shirts", "Shirts", "Belts"], LABELS)))


def test_shares_within_a_category_are_drawn_towards_those_of_all() -> None:
    prior = log_prior(TAXONOMY, TARGETS)
    round_of_all, round_of_shirts = (2 + 1) / (3 + 2), (2 + BORROWED * 3 / 5) / (3 + BORROWED)
    assert prior[0, 0].exp() == pytest.approx(round_of_shirts)
    assert prior[1, 0].exp() == pytest.approx(round_of_all), "no belt says otherwise"
    assert prior[0, :2].exp().sum() == pytest.approx(1)
    b_of_all = (1 + 1) / (2 + 2)
    assert prior[0, 3].sigmoid() == pytest.approx((1 + BORROWED * b_of_all) / (2 + BORROWED), rel=1e-4)
    assert prior.isfinite().all(), "also the odds of a value that every labelled product has"


def test_heads_start_from_what_is_usual() -> None:
    heads = Heads(3, TAXONOMY, Architecture(head="linear", prior=True))
    heads.prior = log_prior(TAXONOMY, TARGETS)
    for layer in (heads.category, heads.attributes):
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        heads.category.bias[0] = 50
    found = heads(torch.randn(2, 3)).attributes
    torch.testing.assert_close(found, heads.prior[:1].expand(2, -1))
    found.sum().backward()
    assert heads.category.bias.grad is None, "attributes do not move the category"
