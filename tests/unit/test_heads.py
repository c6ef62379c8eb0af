"""The fused heads against separate modules, and the losses against torch's own, key by key."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.labels import State, Targets
from attire.model.heads import FusedHeads, ValueLayout
from attire.model.losses import LOSSES, balanced_weight, category_loss
from attire.taxonomy import Key, Taxonomy


def many_keys(keys: int = 46) -> Taxonomy:
    return Taxonomy(
        categories=("A",),
        keys={
            f"k{i}": Key(
                arity="many" if i % 5 == 0 else "one",
                categories=("A",),
                values=tuple(f"v{j}" for j in range(1 + i % 7)),
            )
            for i in range(keys)
        },
    )


def separate_modules(heads: FusedHeads, taxonomy: Taxonomy, features: int) -> nn.ModuleList:
    """The same weights as 46 modules, as the original has them."""
    hidden = heads.weight.shape[1]
    modules = nn.ModuleList()
    for i, key in enumerate(taxonomy.keys.values()):
        first, second = nn.Linear(features, hidden), nn.Linear(hidden, len(key.values))
        with torch.no_grad():
            first.weight.copy_(heads.hidden.weight[i * hidden : (i + 1) * hidden])
            first.bias.copy_(heads.hidden.bias[i * hidden : (i + 1) * hidden])
            second.weight.copy_(heads.weight[i, :, : len(key.values)].T)
            second.bias.copy_(heads.bias[i, 0, : len(key.values)])
        modules.append(nn.Sequential(first, nn.ReLU(), second))
    return modules


def test_fused_heads_equal_46_separate_modules() -> None:
    torch.manual_seed(0)
    taxonomy = many_keys()
    heads = FusedHeads(32, taxonomy, hidden=16)
    modules = separate_modules(heads, taxonomy, 32)
    features = torch.randn(5, 32, requires_grad=True)
    fused, looped = heads(features), torch.cat([module(features) for module in modules], dim=1)
    torch.testing.assert_close(fused, looped)
    weights = torch.randn_like(fused)
    (fused_gradient,) = torch.autograd.grad((fused * weights).sum(), features, retain_graph=True)
    (looped_gradient,) = torch.autograd.grad((looped * weights).sum(), features)
    torch.testing.assert_close(fused_gradient, looped_gradient)
    (fused * weights).sum().backward()
    assert not heads.weight.grad[2, :, len(taxonomy.keys["k2"].values) :].any(), "no gradient reaches the padding"  # type: ignore[index]


def random_targets(taxonomy: Taxonomy, batch: int) -> Targets:
    generator = torch.Generator().manual_seed(1)
    hot = torch.zeros(batch, taxonomy.width, dtype=torch.bool)
    state = torch.randint(0, 3, (batch, len(taxonomy.keys)), generator=generator, dtype=torch.int8)
    for row in range(batch):
        for a, (name, key) in enumerate(taxonomy.keys.items()):
            columns = taxonomy.columns[name]
            if state[row, a] == State.KNOWN:
                chosen = torch.randint(0, len(key.values), (1 if key.arity == "one" else 2,), generator=generator)
                hot[row, columns.start + chosen] = True
    return Targets(torch.zeros(batch, dtype=torch.int64), hot, state)


def softmax_by_hand(taxonomy: Taxonomy, logits: Tensor, targets: Targets) -> Tensor:
    terms = []
    for a, (name, key) in enumerate(taxonomy.keys.items()):
        for row in range(len(logits)):
            if targets.state[row, a] != State.KNOWN:
                continue
            own, hot = logits[row, taxonomy.columns[name]], targets.hot[row, taxonomy.columns[name]]
            if key.arity == "one":
                terms.append(F.cross_entropy(own[None], hot.int().argmax()[None]))
            else:
                terms.append(F.binary_cross_entropy_with_logits(own, hot.float()))
    return torch.stack(terms).mean()


def test_softmax_loss_equals_torch_key_by_key() -> None:
    taxonomy = many_keys(12)
    targets = random_targets(taxonomy, 6)
    logits = torch.randn(6, taxonomy.width, generator=torch.Generator().manual_seed(2))
    loss = LOSSES["softmax"](logits, targets, ValueLayout(taxonomy))
    torch.testing.assert_close(loss, softmax_by_hand(taxonomy, logits, targets))


def test_bce_loss_counts_unlabelled_keys_as_negative() -> None:
    taxonomy = many_keys(3)
    unlabelled = Targets(
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, taxonomy.width, dtype=torch.bool),
        torch.full((2, 3), int(State.UNKNOWN), dtype=torch.int8),
    )
    low, high = (
        LOSSES["bce"](torch.full((2, taxonomy.width), x), unlabelled, ValueLayout(taxonomy)) for x in (-9.0, 9.0)
    )
    assert low < 0.001
    assert high > 8


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_is_finite_and_learns(name: str) -> None:
    taxonomy = many_keys(9)
    layout, targets = ValueLayout(taxonomy), random_targets(taxonomy, 8)
    logits = torch.zeros(8, taxonomy.width, requires_grad=True)
    before = LOSSES[name](logits, targets, layout)
    before.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    after = LOSSES[name]((logits - 10 * logits.grad).detach(), targets, layout)  # type: ignore[operator]
    assert after < before
    nothing = targets._replace(state=torch.full_like(targets.state, int(State.UNKNOWN)))
    assert torch.isfinite(LOSSES[name](logits, nothing, layout))


def test_category_loss_leaves_unknown_categories_out() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 5.0]], requires_grad=True)
    weight = torch.ones(2)
    known = category_loss(logits, torch.tensor([0, -1]), weight)
    torch.testing.assert_close(known, F.cross_entropy(logits[:1], torch.tensor([0])))
    none = category_loss(logits, torch.tensor([-1, -1]), weight)
    none.backward()  # type: ignore[no-untyped-call]
    assert none == 0
    assert not logits.grad.any()  # type: ignore[union-attr]


def test_balanced_weight_is_inverse_frequency() -> None:
    weight = balanced_weight(torch.tensor([0, 0, 0, 1, -1]), classes=3)
    torch.testing.assert_close(weight, torch.tensor([4 / 6, 2.0, 0.0]))
