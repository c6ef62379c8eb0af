"""From logits to answers: the category, the keys that apply, the chosen values, and their confidence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.config import DecisionRule
from attire.labels import coarsened, labelled, rolled_up
from attire.prediction import Abstained, Alternative, Answer, Prediction
from attire.taxonomy import Taxonomy

ALTERNATIVES = 3  # other values (or categories) that a prediction lists
EDGE = 1e-6  # of probabilities, before taking log odds
UNSURE = "no value is sure enough"  # reason of an abstention


class Decisions(NamedTuple):
    """Answers for N products.

    category:             int64[N], index of the category; -1 for a product without an answer
    category_probability: float32[N, C], sums to 1 over the categories
    probability:          float32[N, K], of each value given that its key applies
    chosen:               bool[N, K], the values answered
    applies:              bool[N, A], the keys that get an answer or an abstention
    """

    category: NDArray[np.int64]
    category_probability: NDArray[np.float32]
    probability: NDArray[np.float32]
    chosen: NDArray[np.bool_]
    applies: NDArray[np.bool_]


class Accepted(NamedTuple):
    """What is filled of N products; other fields are left open.

    category: bool[N]
    keys:     bool[N, A]
    coarse:   bool[N, K], the coarser values that are filled in place of the chosen ones; see `with_coarse`
    """

    category: NDArray[np.bool_]
    keys: NDArray[np.bool_]
    coarse: NDArray[np.bool_]


def decide(
    taxonomy: Taxonomy,
    rule: DecisionRule,
    category_logits: NDArray[np.float32],
    logits: NDArray[np.float32],
    known_category: NDArray[np.int64] | None = None,
    frequency: NDArray[np.float32] | None = None,
) -> Decisions:
    """Apply `rule` to category_logits (float32[N, C]) and logits (float32[N, K]).

    `known_category` (int64[N]) overrules the category logits wherever it is not -1. Then `frequency` (float32[C, K], of
    each value within a category) updates the values of keys with arity `one`, so that a key that follows from the
    category is answered at once.
    """
    category_probability = np.exp(log_softmax(category_logits))
    if known_category is not None:
        known = known_category >= 0
        if frequency is not None and taxonomy.keys and rule.rule == "typed":
            logits = logits.copy()
            logits[known] += _evidence_of(taxonomy, category_probability[known], known_category[known], frequency)
        category_probability[known] = np.eye(len(taxonomy.categories), dtype=np.float32)[known_category[known]]
    independent = sigmoid(logits)
    if rule.rule == "threshold":
        probability = independent
        chosen = independent > rule.threshold
        applies = np.ones((len(logits), len(taxonomy.keys)), dtype=bool)
    else:
        one = taxonomy.one[taxonomy.key_of_column]
        probability = np.where(one, np.exp(log_softmax_within_keys(taxonomy, logits)), independent)
        applies = applicability(taxonomy, category_probability) > rule.gate
        chosen = likeliest(taxonomy, logits) | (~one & (independent > rule.threshold))
        chosen &= applies[:, taxonomy.key_of_column]
    return Decisions(category_probability.argmax(axis=1), category_probability, probability, chosen, applies)


def abstain(taxonomy: Taxonomy, decisions: Decisions, taught: NDArray[np.bool_]) -> Decisions:
    """Clear answers and probabilities of keys that are not `taught` (bool[A]): without labels in training, the
    network's output for them is random."""
    if taught.all():
        return decisions
    values = taught[taxonomy.key_of_column]
    return decisions._replace(chosen=decisions.chosen & values, probability=decisions.probability * values)


def likeliest(taxonomy: Taxonomy, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool[N, K]: the value with the highest score of each key, the first one on a tie. scores: [N, K], finite."""
    best = np.maximum.reduceat(scores, taxonomy.starts, axis=1)[:, taxonomy.key_of_column]
    column = np.where(scores == best, np.arange(taxonomy.width), taxonomy.width)
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, np.minimum.reduceat(column, taxonomy.starts, axis=1), True, axis=1)
    return chosen


def confidence(taxonomy: Taxonomy, decisions: Decisions) -> NDArray[np.float32]:
    """float32[N, A]: probability that all chosen values of a key are right, if independent; 1 if none is chosen."""
    if not taxonomy.keys:
        return decisions.probability
    probability = np.where(decisions.chosen, decisions.probability, np.float32(1))
    return np.multiply.reduceat(probability, taxonomy.starts, axis=1)


def applicability(taxonomy: Taxonomy, category_probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[N, A]: probability that each key applies, by those of the categories (float32[N, C])."""
    return np.asarray(category_probability @ taxonomy.applies.astype(np.float32), dtype=np.float32)


def least_confident(taxonomy: Taxonomy, decisions: Decisions) -> NDArray[np.int64]:
    """int64[N, A]: the column of each key's least confident chosen value; any of its columns if none is chosen."""
    doubt = np.where(decisions.chosen, 1 - decisions.probability, np.float32(-1))
    return np.nonzero(likeliest(taxonomy, doubt))[1].reshape(len(doubt), len(taxonomy.keys))


def coarse_values(taxonomy: Taxonomy, decisions: Decisions) -> NDArray[np.bool_]:
    """bool[N, K]: the root of each answer of one value that is a kind of others, or has kinds."""
    one_of_group = taxonomy.one[taxonomy.key_of_column] & np.isin(taxonomy.roots, taxonomy.ancestors[:, 1])
    return coarsened(taxonomy, decisions.chosen & one_of_group)


def with_coarse(taxonomy: Taxonomy, decisions: Decisions, coarse: NDArray[np.bool_]) -> Decisions:
    """The decisions with `coarse` values (bool[N, K]) in place of the chosen ones of their keys.

    The probability of a coarse value is that of the value together with all its kinds.
    """
    if not coarse.any():
        return decisions
    replaced = labelled(taxonomy, coarse)[:, taxonomy.key_of_column]
    together = np.minimum(rolled_up(taxonomy, decisions.probability), np.float32(1))  # the sum is rounded
    return decisions._replace(
        chosen=np.where(replaced, coarse, decisions.chosen),
        probability=np.where(coarse, together, decisions.probability),
    )


def prediction(
    taxonomy: Taxonomy, decisions: Decisions, accepted: Accepted, row: int, id: str, bundle: str
) -> Prediction:
    """The prediction for the product `id` in `row`, in the taxonomy's words. `bundle` is the digest of the model.

    accepted: the answers to fill; the category and keys that are not accepted are left open, with alternatives. Coarse
    values are those of `with_coarse` already.
    """
    category = int(decisions.category[row]) if accepted.category[row] else None
    category_probability = decisions.category_probability[row]
    attributes: dict[str, Answer | Abstained] = {}
    for key, applies, is_accepted in zip(taxonomy.keys, decisions.applies[row], accepted.keys[row], strict=True):
        if not applies:
            continue
        columns, values = taxonomy.columns[key], taxonomy.keys[key].values
        probability, chosen = decisions.probability[row, columns], decisions.chosen[row, columns]
        if is_accepted:
            answer = tuple(value for value, is_chosen in zip(values, chosen, strict=True) if is_chosen)
            attributes[key] = Answer(
                answer, float(probability[chosen].prod()), _alternatives(values, probability, ~chosen)
            )
        else:
            attributes[key] = Abstained(UNSURE, _alternatives(values, probability, probability >= 0))
    others = np.array([number != category for number in range(len(taxonomy.categories))])
    return Prediction(
        id=id,
        category=None if category is None else taxonomy.categories[category],
        category_confidence=float(category_probability.max() if category is None else category_probability[category]),
        category_alternatives=_alternatives(taxonomy.categories, category_probability, others),
        attributes=attributes,
        bundle=bundle,
    )


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log softmax over the last axis of float32[N, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def log_softmax_within_keys(taxonomy: Taxonomy, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log softmax over the values of each key in float32[N, K]."""
    key = taxonomy.key_of_column
    shifted = logits - np.maximum.reduceat(logits, taxonomy.starts, axis=1)[:, key]
    return np.asarray(shifted - np.log(np.add.reduceat(np.exp(shifted), taxonomy.starts, axis=1))[:, key])


def log_odds(probability: NDArray[np.floating]) -> NDArray[np.floating]:
    """Log odds of probabilities, which are clipped to [EDGE, 1 - EDGE]."""
    clipped = np.clip(probability, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def sigmoid(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The probabilities with these log odds."""
    return np.asarray(np.exp(-np.logaddexp(0, -values)))


def _evidence_of(
    taxonomy: Taxonomy, predicted: NDArray[np.float32], known: NDArray[np.int64], frequency: NDArray[np.float32]
) -> NDArray[np.float32]:
    """float32[N, K]: what a known category adds to the log probability of each value of a key with arity `one`.

    By Bayes' rule it is the value's frequency in that category, divided by the frequency that the network's own
    probabilities of categories (`predicted`, float32[N, C]) let expect.
    """
    evidence = np.log(frequency[known]) - np.log(predicted @ frequency)
    return np.asarray(np.where(taxonomy.one[taxonomy.key_of_column], evidence, 0), dtype=np.float32)


def _alternatives(
    words: tuple[str, ...], probability: NDArray[np.float32], eligible: NDArray[np.bool_]
) -> tuple[Alternative, ...]:
    order = np.argsort(-probability, kind="stable")
    return tuple(Alternative(words[i], float(probability[i])) for i in order[eligible[order]][:ALTERNATIVES])
