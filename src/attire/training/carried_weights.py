"""Weights of a bundle for a network with other words: carried over by name, the rest stays new."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attire.bundle import ModelBundle
from attire.errors import first_few
from attire.model.heads import Rows
from attire.model.network import Network
from attire.word_places import WordPlaces


def carry_over(start: ModelBundle, network: Network, places: WordPlaces) -> None:
    """Copy the weights of `start` into a network of the same architecture whose heads have other words.

    Words of the bundle that became one word start it from the mean of their weights. Words without a counterpart keep
    the weights that they have. places: where the bundle's words are among those of the network.
    """
    of_words, their_words = _of_words(network), _of_words(start.network)
    state = start.network.state_dict()
    shared = {name: value for name, value in state.items() if not name.startswith(their_words)}
    missing, unexpected = network.load_state_dict(shared, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith(of_words) for name in missing), missing
    old, new = start.network.heads, network.heads
    with torch.no_grad():
        for own, theirs in ((new.category.weight, old.category.weight), (new.category.bias, old.category.bias)):
            own.copy_(_moved(theirs, own, places.categories))
    new.attributes.set_rows(_moved_rows(old.attributes.rows(), new.attributes.rows(), places))
    if new.colour is not None and old.colour is not None:
        new.colour.values.set_rows(_moved_rows(old.colour.values.rows(), new.colour.values.rows(), places))


def _of_words(network: Network) -> tuple[str, ...]:
    """Prefixes of the names of parameters that belong to single words."""
    heads = network.heads
    layers = [heads.category, heads.attributes, *([] if heads.colour is None else [heads.colour.values])]
    return tuple(f"{name}." for name, module in network.named_modules() if any(module is layer for layer in layers))


def remark(start: ModelBundle, places: WordPlaces) -> str | None:
    """A sentence about what is carried over from the bundle and what is new; None if the words are the same."""
    categories, keys, values = places.new_words
    parts = [
        f"{name} {first_few(words)}"
        for name, words in (("the categories", categories), ("the keys", keys), ("the values", values))
        if words
    ]
    lost = [word for words in places.lost_words for word in words]
    if not parts and not lost:
        return None
    old = places.old
    carried = f"{(places.categories >= 0).sum()} of {len(old.categories)} categories, {(places.keys >= 0).sum()} of "
    carried += f"{len(old.keys)} keys and {(places.values >= 0).sum()} of {old.width} values"
    new = f"; new are {', '.join(parts)}" if parts else "; nothing is new"
    return f"{start.path}: its weights for {carried} are carried over{new}" + (
        f"; the taxonomy no longer has {first_few(lost)}." if lost else "."
    )


def _moved_rows(old: Rows, new: Rows, places: WordPlaces) -> Rows:
    return Rows(
        tuple(_moved(a, b, places.keys) for a, b in zip(old.of_keys, new.of_keys, strict=True)),
        tuple(_moved(a, b, places.values) for a, b in zip(old.of_values, new.of_values, strict=True)),
    )


def _moved(old: Tensor, new: Tensor, places: NDArray[np.int64]) -> Tensor:
    """`new` with the rows of `old` at their places."""
    moved = new.detach().clone()
    for place in np.unique(places[places >= 0]).tolist():
        moved[place] = old[torch.from_numpy(places == place)].mean(0)
    return moved
