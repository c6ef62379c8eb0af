"""Every loss with every policy, against plain arithmetic for each cell, and properties of all losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import pytest
import torch
from helpers.taxonomies import many_keys
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Recipe, load_recipe
from attire.errors import ConfigError
from attire.labels import State, Targets
from attire.model.losses import LOSSES, balanced_weight, category_loss, create_loss
from attire.model.unlabelled import UNLABELLED
from attire.taxonomy import Taxonomy

TAXONOMY = many_keys(9)
BINARY = sorted(LOSSES.keys() - {"softmax"})
COMBINATIONS = [("softmax", "ignore"), *product(BINARY, sorted(UNLABELLED))]
every_combination = pytest.mark.parametrize(("loss", "policy"), COMBINATIONS)
every_policy = pytest.mark.parametrize("policy", sorted(UNLABELLED))


def random_targets(batch: int, seed: int) -> Targets:
    """Labels in all three states, including some values for keys that do not apply."""
    generator = torch.Generator().manual_seed(seed)
    hot = torch.zeros(batch, TAXONOMY.width, dtype=torch.bool)
    state = torch.randint(0, 3, (batch, len(TAXONOMY.keys)), generator=generator, dtype=torch.int8)
    for row in range(batch):
        for a, (name, key) in enumerate(TAXONOMY.keys.items()):
            if state[row, a] == State.KNOWN or (state[row, a] == State.NOT_APPLICABLE and row % 3 == 0):
                chosen = torch.randint(0, len(key.values), (1 if key.arity == "one" else 2,), generator=generator)
                hot[row, TAXONOMY.columns[name].start + chosen] = True
    return Targets(torch.zeros(batch, dtype=torch.int64), hot, state)


TRAIN, BATCH = random_targets(40, seed=1), random_targets(8, seed=2)
LOGITS = 3 * torch.randn(8, TAXONOMY.width, generator=torch.Generator().manual_seed(2))
PARAMETERS: dict[str, dict[str, object]] = {
    "focal": {"gamma": 1.5, "alpha": 0.3},
    "asl": {"gamma_positive": 0.5, "gamma_negative": 3, "clip": 0.1},
    "selective": {"prior": 0.3, "likely": 2},
}


def recipe(loss: str, policy: str, parameters: Mapping[str, object] = {}, **fields: object) -> Recipe:
    """The recipe base with that loss and policy."""
    chosen = {"name": loss, **PARAMETERS.get(loss, {}), **parameters}
    unlabelled = {"name": policy, **PARAMETERS.get(policy, {})}
    return load_recipe("base", {"loss": chosen, "unlabelled": unlabelled, **fields})


def build(loss: str, policy: str, parameters: Mapping[str, object] = {}, **fields: object) -> nn.Module:
    return create_loss(recipe(loss, policy, parameters, **fields), TAXONOMY, TRAIN)


def value_and_gradient(loss: nn.Module, logits: Tensor, targets: Targets = BATCH) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def stated(targets: Targets, column: int, *, known_only: bool) -> list[bool]:
    """Whether the value is stated, for each product, or each with a known label."""
    key = int(TAXONOMY.key_of_column[column])
    rows = [row for row in range(len(targets.hot)) if not known_only or targets.state[row, key] == State.KNOWN]
    return [bool(targets.hot[row, column]) for row in rows]


def carrying_by_hand(policy: str, logits: Tensor, targets: Targets) -> list[tuple[int, int]]:
    cells = list(product(range(len(logits)), range(TAXONOMY.width)))
    state = {(row, column): State(int(targets.state[row, TAXONOMY.key_of_column[column]])) for row, column in cells}
    if policy == "negative":
        return cells
    if policy == "ignore":
        return [cell for cell in cells if state[cell] == State.KNOWN]
    unlabelled = [cell for cell in cells if state[cell] == State.UNKNOWN]
    doubtful = set(sorted(unlabelled, key=lambda cell: -float(logits[cell]))[: 2 * len(logits)])
    for column in range(TAXONOMY.width):
        known = stated(TRAIN, column, known_only=True)
        if sum(known) / len(known) > 0.3:
            doubtful |= {cell for cell in unlabelled if cell[1] == column}
    contradicted = {cell for cell in cells if state[cell] == State.NOT_APPLICABLE and targets.hot[cell]}
    return [cell for cell in cells if cell not in doubtful | contradicted]


def cell_by_hand(loss: str, policy: str, x: float, holds: bool, column: int) -> float:
    p = 1 / (1 + math.exp(-x))
    if loss == "weighted_bce":
        counted = stated(TRAIN, column, known_only=policy != "negative")
        return -math.log(p) * len(counted) / max(1, sum(counted)) if holds else -math.log(1 - p)
    if loss == "focal":
        return 0.3 * math.pow(1 - p, 1.5) * -math.log(p) if holds else 0.7 * math.pow(p, 1.5) * -math.log(1 - p)
    if loss == "asl":
        shifted = max(0.0, p - 0.1)
        return math.sqrt(1 - p) * -math.log(p) if holds else shifted * shifted * shifted * -math.log(1 - shifted)
    return -math.log(p) if holds else -math.log(1 - p)


def by_hand(loss: str, policy: str, logits: Tensor, targets: Targets) -> float:
    cells = carrying_by_hand(policy, logits, targets)
    each = [cell_by_hand(loss, policy, float(logits[c]), bool(targets.hot[c]), c[1]) for c in cells]
    return sum(each) / len(each)


def softmax_by_hand(logits: Tensor, targets: Targets, smoothing: float) -> Tensor:
    terms = []
    for a, (name, key) in enumerate(TAXONOMY.keys.items()):
        for row in range(len(logits)):
            if targets.state[row, a] != State.KNOWN:
                continue
            key_logits, hot = logits[row, TAXONOMY.columns[name]], targets.hot[row, TAXONOMY.columns[name]]
            if key.arity == "one":
                terms.append(F.cross_entropy(key_logits[None], hot.int().argmax()[None], label_smoothing=smoothing))
            else:
                terms.append(F.binary_cross_entropy_with_logits(key_logits, hot.float()))
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("loss", "policy"), COMBINATIONS[1:])
def test_binary_losses_equal_plain_arithmetic(loss: str, policy: str) -> None:
    assert len(carrying_by_hand(policy, LOGITS, BATCH)) > 20
    assert float(build(loss, policy)(LOGITS, BATCH)) == pytest.approx(by_hand(loss, policy, LOGITS, BATCH), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmax_equals_torch_key_by_key(smoothing: float) -> None:
    loss = build("softmax", "ignore", label_smoothing=smoothing)
    torch.testing.assert_close(loss(LOGITS, BATCH), softmax_by_hand(LOGITS, BATCH, smoothing))


def test_the_original_recipe_has_the_original_loss_bit_for_bit() -> None:
    actual = value_and_gradient(create_loss(load_recipe("original"), TAXONOMY, TRAIN), LOGITS)
    expected = value_and_gradient(Original(), LOGITS)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


class Original(nn.Module):
    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets.hot.float())


@every_policy
@pytest.mark.parametrize(
    ("loss", "parameters"),
    [
        ("asl", {"gamma_positive": 0, "gamma_negative": 0, "clip": 0}),
        ("focal", {"gamma": 0, "alpha": None}),
        ("weighted_bce", {"power": 0}),
    ],
)
def test_neutral_parameters_give_bce(loss: str, parameters: dict[str, object], policy: str) -> None:
    torch.testing.assert_close(
        value_and_gradient(build(loss, policy, parameters), LOGITS), value_and_gradient(build("bce", policy), LOGITS)
    )


def test_asymmetric_with_equal_exponents_is_focal() -> None:
    asl = build("asl", "ignore", {"gamma_positive": 2, "gamma_negative": 2, "clip": 0})
    focal = build("focal", "ignore", {"gamma": 2, "alpha": None})
    torch.testing.assert_close(value_and_gradient(asl, LOGITS), value_and_gradient(focal, LOGITS))


@every_combination
def test_gradient_descent_lowers_the_loss(loss: str, policy: str) -> None:
    fields = {"unlabelled": {"name": "selective", "prior": 0.3, "likely": 0}} if policy == "selective" else {}
    built, logits = build(loss, policy, **fields), LOGITS  # with `likely`, other cells would carry loss after a step
    for _ in range(5):
        before, gradient = value_and_gradient(built, logits)
        logits = logits - 5 * gradient
        assert built(logits, BATCH) < before


@every_combination
def test_extreme_logits_have_a_finite_loss_and_gradient(loss: str, policy: str) -> None:
    for size in (20.0, 1e2, 1e4):
        value, gradient = value_and_gradient(build(loss, policy), LOGITS.sign() * size)
        assert value.isfinite()
        assert gradient.isfinite().all()
    assert build(loss, policy)(LOGITS.bfloat16(), BATCH).dtype == torch.float32


def test_small_exponents_have_a_finite_gradient_at_zero() -> None:
    small: dict[str, dict[str, object]] = {"asl": {"gamma_negative": 0.5, "clip": 0.5}, "focal": {"gamma": 0.5}}
    for name, parameters in small.items():
        for size in (0, 1e3):  # for logits of 0 the probability equals the clip
            _, gradient = value_and_gradient(build(name, "negative", parameters), LOGITS * size)
            assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_known_labels_have_a_gradient_and_ignored_ones_do_not(loss: str) -> None:
    _, gradient = value_and_gradient(build(loss, "ignore"), LOGITS)
    known = (BATCH.state == State.KNOWN)[:, TAXONOMY.key_of_column]
    assert not gradient[~known].any()
    one_value = torch.tensor([k.arity == "one" and len(k.values) == 1 for k in TAXONOMY.keys.values()])
    certain = one_value[TAXONOMY.key_of_column] if loss == "softmax" else torch.zeros(TAXONOMY.width, dtype=torch.bool)
    if loss != "asl":  # which has no loss below its clip
        assert gradient[known & ~certain].all()


@every_combination
def test_a_batch_without_labels(loss: str, policy: str) -> None:
    state = torch.full_like(BATCH.state, int(State.UNKNOWN))
    nothing = Targets(BATCH.category, torch.zeros_like(BATCH.hot), state)
    value, gradient = value_and_gradient(build(loss, policy), LOGITS, nothing)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if policy == "ignore":
        assert value == 0
        assert not gradient.any()
    else:
        assert (gradient >= 0).all(), "unlabelled values count as absent"
        assert gradient.any()


@every_policy
@pytest.mark.parametrize("loss", BINARY)
def test_buffers_move_with_the_loss_and_are_not_saved(loss: str, policy: str) -> None:
    built = build(loss, policy).to("meta")
    assert all(buffer.device.type == "meta" for buffer in built.buffers())
    assert not built.state_dict(), "checkpoints have parameters only"
    assert not list(built.parameters())


def test_selective_leaves_out_a_key_without_labels() -> None:
    train = TRAIN._replace(state=torch.where(torch.arange(9) == 8, int(State.UNKNOWN), TRAIN.state))
    policy = {"name": "selective", "prior": 1, "likely": 0}
    loss = create_loss(load_recipe("base", {"loss": "bce", "unlabelled": policy}), TAXONOMY, train)
    _, gradient = value_and_gradient(loss, LOGITS)
    columns = torch.arange(TAXONOMY.width)[TAXONOMY.columns["k8"]]
    unlabelled = BATCH.state[:, 8] == State.UNKNOWN
    assert not gradient[unlabelled][:, columns].any()
    assert gradient[unlabelled][:, : columns[0]].any()


def test_weights_are_inverse_frequencies() -> None:
    taxonomy = Taxonomy.parse(
        {"categories": ["A"], "keys": {"k": {"categories": ["A"], "values": ["common", "rare", "never"]}}}, "test"
    )
    hot = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    state = torch.tensor([[1], [1], [1], [1], [0]], dtype=torch.int8)
    train = Targets(torch.zeros(5, dtype=torch.int64), hot, state)
    for policy, weight in (("ignore", [4 / 3, 4, 1]), ("negative", [5 / 3, 5, 1])):
        loss = create_loss(recipe("weighted_bce", policy), taxonomy, train)
        torch.testing.assert_close(loss.weight, torch.tensor(weight))
    half = create_loss(recipe("weighted_bce", "ignore", {"power": 0.5}), taxonomy, train)
    torch.testing.assert_close(half.weight, torch.tensor([(4 / 3) ** 0.5, 2, 1]))


@pytest.mark.parametrize("policy", ["negative", "selective"])
def test_softmax_with_unlabelled_keys_is_refused(policy: str) -> None:
    with pytest.raises(
        ConfigError, match=r'recipe base:\n  unlabelled = ".*" needs a binary loss .* Use unlabelled = "ignore"'
    ):
        recipe("softmax", policy)


def test_category_loss_leaves_unknown_categories_out() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 5.0]], requires_grad=True)
    weight = torch.ones(2)
    known = category_loss(logits, torch.tensor([0, -1]), weight)
    torch.testing.assert_close(known, F.cross_entropy(logits[:1], torch.tensor([0])))
    unknown = category_loss(logits, torch.tensor([-1, -1]), weight)
    unknown.backward()  # type: ignore[no-untyped-call]
    assert unknown == 0
    assert not logits.grad.any()  # type: ignore[union-attr]


def test_category_loss_smooths_labels() -> None:
    logits, weight = torch.tensor([[2.0, 0.0]]), torch.ones(2)
    p = logits.softmax(1)[0]
    expected = -(0.9 * p[0].log() + 0.1 * p[1].log())  # 0.2 over two categories
    torch.testing.assert_close(category_loss(logits, torch.tensor([0]), weight, 0.2), expected)


def test_balanced_weight_is_inverse_frequency() -> None:
    weight = balanced_weight(torch.tensor([0, 0, 0, 1, -1]), classes=3)
    torch.testing.assert_close(weight, torch.tensor([4 / 6, 2.0, 0.0]))
