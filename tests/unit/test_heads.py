"""Fused heads against separate modules, attention against its paper, and properties that every head must have."""

from __future__ import annotations

import pytest
import torch
from helpers.taxonomies import many_keys
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Architecture
from attire.model.heads import HEADS, FusedHeads, LinearHeads, ResidualAttention, pooled
from attire.taxonomy import Taxonomy


def separate_modules(heads: FusedHeads, taxonomy: Taxonomy, features: int) -> nn.ModuleList:
    """The same weights as one module per key, as in the original method."""
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


ARCHITECTURE = Architecture(hidden=8)
MAP = torch.randn(6, 16, 3, 2, generator=torch.Generator().manual_seed(3))


def features(name: str) -> Tensor:
    return MAP if Architecture.model_validate({"head": name}).spatial else pooled(MAP)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_head_can_fit_a_target(name: str) -> None:
    torch.manual_seed(0)
    taxonomy = many_keys(7)
    head = HEADS[name](16, taxonomy, ARCHITECTURE, 0.0)
    target = torch.randn(6, taxonomy.width, generator=torch.Generator().manual_seed(4))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        logits = head(features(name))
        assert logits.shape == (6, taxonomy.width)
        loss = (logits - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None for p in head.parameters()), "an unused parameter stops distributed training"
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_head_treats_products_independently(name: str) -> None:
    taxonomy = many_keys(7)
    head = HEADS[name](16, taxonomy, ARCHITECTURE, 0.0)
    together = head(features(name))
    torch.testing.assert_close(torch.cat([head(one[None]) for one in features(name)]), together)
    assert head(1e4 * features(name)).isfinite().all()


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.filterwarnings("error")
def test_every_head_has_no_outputs_without_keys(name: str) -> None:
    head = HEADS[name](16, Taxonomy(categories=("A",)), ARCHITECTURE, 0.0)
    assert head(features(name)).shape == (6, 0)


@pytest.mark.parametrize("name", ["csra", "mlp"])
def test_dropout_drops_in_training_only(name: str) -> None:
    head = HEADS[name](16, many_keys(3), ARCHITECTURE, 0.5)
    assert not torch.equal(head(features(name)), head(features(name)))
    head.eval()
    torch.testing.assert_close(head(features(name)), head(features(name)))


def attention(share: float, temperature: float) -> ResidualAttention:
    torch.manual_seed(0)
    return ResidualAttention(16, many_keys(7), share, temperature)


def test_attention_with_share_0_is_linear_on_average_pooled_features() -> None:
    head = attention(0, 1)
    linear = LinearHeads(16, many_keys(7))
    linear.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(MAP), linear(MAP.mean((2, 3))))


def test_attention_equals_the_paper_value_by_value() -> None:
    head = attention(0.3, 2)
    logits = head(MAP)
    for row, x in enumerate(MAP.flatten(2)):  # [F, positions]
        for column, m in enumerate(head.weight):
            evidence = torch.stack([x[:, j] @ m for j in range(x.shape[1])])
            s = (2 * evidence).exp() / (2 * evidence).exp().sum()
            specific = sum(s[j] * x[:, j] for j in range(x.shape[1]))
            expected = m @ (x.mean(1) + 0.3 * specific) + head.bias[column]
            torch.testing.assert_close(logits[row, column], expected)


def test_attention_at_high_temperature_is_the_maximum() -> None:
    head = attention(1, 1e4)
    scores = F.conv2d(MAP, head.weight[:, :, None, None])
    torch.testing.assert_close(head(MAP), scores.mean((2, 3)) + scores.amax((2, 3)) + head.bias)
