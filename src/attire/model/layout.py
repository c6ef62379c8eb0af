"""Heads of keys that were added later, in products of their own, so that the other logits keep their last bits.

The rounding of a matrix product depends on the shape of the matrix: with other columns beside them, the same weights
give logits that differ in the last bits. So a key that is added to a trained network gets another matrix, and the
columns of a key that left it stay as unused ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from attire.model.heads import FusedHeads, LinearHeads, Rows
from attire.taxonomy import Key, Taxonomy
from attire.word_places import WordPlaces

Part = tuple[str | int, ...]  # the keys of a matrix, and numbers of unused columns, in the order of its columns
Layout = tuple[Part, ...]  # empty: one matrix with all keys, in the order of the taxonomy
KeyHeads = LinearHeads | FusedHeads


class PartedHeads(nn.Module):
    """Heads for each part of a layout; the logits are those of one head with all keys, float32[B, K]."""

    columns: Tensor
    keys: Tensor

    def __init__(self, taxonomy: Taxonomy, layout: Layout, make: Callable[[Taxonomy], KeyHeads]) -> None:
        """`make` creates the heads for a taxonomy with the keys of a part."""
        super().__init__()
        self.parts = nn.ModuleList(make(_part_taxonomy(taxonomy, part)) for part in layout)
        slots = [slot for part in layout for slot in part]
        starts: dict[str | int, int] = {}
        for slot, start in zip(slots, _starts(taxonomy, layout), strict=True):
            starts[slot] = start
        columns = [starts[key] + i for key, words in taxonomy.keys.items() for i in range(len(words.values))]
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        places = [slots.index(key) for key in taxonomy.keys]
        self.register_buffer("keys", torch.tensor(places, dtype=torch.int64), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([part(features) for part in self.parts], dim=1).index_select(1, self.columns)

    @torch.no_grad()
    def rows(self) -> Rows:
        """The parameters of all keys and values, in the order of the taxonomy."""
        whole = self._whole()
        return Rows(tuple(x[self.keys] for x in whole.of_keys), tuple(x[self.columns] for x in whole.of_values))

    @torch.no_grad()
    def set_rows(self, rows: Rows) -> None:
        """Replace all parameters by `rows`, those of unused columns by 0."""
        whole = Rows(*(tuple(map(torch.zeros_like, tensors)) for tensors in self._whole()))
        for place, tensors, given in zip((self.keys, self.columns), whole, rows, strict=True):
            for tensor, values in zip(tensors, given, strict=True):
                tensor[place] = values
        counts = [[len(x[0]) if x else 0 for x in part.rows()] for part in self._heads()]
        divided = [
            [torch.split(tensor, [count[kind] for count in counts]) for tensor in tensors]
            for kind, tensors in enumerate(whole)
        ]
        for number, part in enumerate(self._heads()):
            part.set_rows(Rows(*(tuple(pieces[number] for pieces in tensors) for tensors in divided)))

    def _whole(self) -> Rows:
        """The parameters of all parts, end to end."""
        parts = [part.rows() for part in self._heads()]
        return Rows(*(tuple(map(torch.cat, zip(*tensors, strict=True))) for tensors in zip(*parts, strict=True)))

    def _heads(self) -> Iterator[KeyHeads]:
        for part in self.parts:
            assert isinstance(part, LinearHeads | FusedHeads)
            yield part


def laid_out(taxonomy: Taxonomy, layout: Layout, make: Callable[[Taxonomy], KeyHeads]) -> KeyHeads | PartedHeads:
    """Heads for all keys of the taxonomy."""
    return PartedHeads(taxonomy, layout, make) if layout else make(taxonomy)


def extended(layout: Layout, places: WordPlaces) -> Layout:
    """The layout of a network of `places.old`, for `places.new`: keys that are new or have changed get another part."""
    before = layout or (tuple(places.old.keys),)
    names = dict(zip(places.old.keys, places.keys.tolist(), strict=True))
    keys = list(places.new.keys)
    kept = {name: keys[place] for name, place in names.items() if place >= 0 and places.unchanged(keys[place])}

    def slot(name: str | int) -> str | int:
        return name if isinstance(name, int) else kept.get(name, len(places.old.keys[name].values))

    parts = [tuple(map(slot, part)) for part in before if part]
    if added := tuple(key for key in keys if key not in kept.values()):
        parts.append(added)
    return () if parts in ([tuple(keys)], []) else tuple(parts)


def fits(layout: Layout, taxonomy: Taxonomy) -> bool:
    """Whether the layout has each key of the taxonomy once."""
    names = [slot for part in layout for slot in part if isinstance(slot, str)]
    return not layout or sorted(names) == sorted(taxonomy.keys)


def _part_taxonomy(taxonomy: Taxonomy, part: Part) -> Taxonomy:
    def key(slot: str | int) -> Key:
        if isinstance(slot, str):
            return taxonomy.keys[slot]
        return Key(categories=(), values=tuple(map(str, range(slot))))

    keys = {slot if isinstance(slot, str) else f"unused {place}": key(slot) for place, slot in enumerate(part)}
    return Taxonomy.model_construct(categories=taxonomy.categories, keys=keys)


def _starts(taxonomy: Taxonomy, layout: Layout) -> Iterator[int]:
    """The first column of each slot, in all parts end to end."""
    start = 0
    for part in layout:
        for slot in part:
            yield start
            start += len(taxonomy.keys[slot].values) if isinstance(slot, str) else slot
