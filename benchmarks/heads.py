"""Compare fused MLP heads with a loop over one `nn.Sequential` per key, forward and backward; and how heads scale.

python benchmarks/heads.py [--batch 64] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

from pathlib import Path

import cyclopts
import torch
from support.common import Row, device, interleaved, report
from torch import Tensor, nn

from attire.memory import keep_freed_memory
from attire.model.heads import FusedHeads, LinearHeads
from attire.taxonomy import Key, Taxonomy

FEATURES, HIDDEN, KEYS, VALUES = 2048, 256, 46, 230  # as in the original method
NARROW = 32  # hidden width for measuring growth; at 256, 1,000 keys would have half a billion weights


def words(keys: int, values: int) -> Taxonomy:
    """A taxonomy with the given total number of values, spread evenly over the keys."""
    sizes = [values * (i + 1) // keys - values * i // keys for i in range(keys)]
    return Taxonomy(
        categories=("A",),
        keys={
            f"k{i}": Key(arity="one", categories=("A",), values=tuple(f"v{j}" for j in range(size)))
            for i, size in enumerate(sizes)
        },
    )


class LoopedHeads(nn.Module):
    """The straightforward version: one MLP per key, called one after the other."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(key.values)))
            for key in taxonomy.keys.values()
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([head(features) for head in self.heads], dim=1)


class ForwardBackward:
    """One forward and backward pass of `batch` rows, with gradients of weights and features."""

    def __init__(self, module: nn.Module, batch: int) -> None:
        self.module = module.to(device())
        self.features = torch.randn(batch, FEATURES, device=device(), requires_grad=True)

    def __call__(self) -> None:
        self.module.zero_grad(set_to_none=True)
        self.features.grad = None
        self.module(self.features).square().mean().backward()


def main(*, batch: int = 64, rounds: int = 7, json: Path | None = None) -> None:
    """Measure on the GPU if there is one, else on the CPU."""
    keep_freed_memory()  # as the command line does
    original = words(KEYS, VALUES)
    fused, loop = f"{KEYS} heads fused", f"{KEYS} heads in a loop"
    seconds = interleaved(
        {
            fused: ForwardBackward(FusedHeads(FEATURES, original, HIDDEN), batch),
            loop: ForwardBackward(LoopedHeads(original), batch),
        },
        rounds,
    )
    rows = [
        Row(fused, 1e3 * seconds[fused], "ms", seconds[loop] / seconds[fused], "times faster than the loop"),
        Row(loop, 1e3 * seconds[loop], "ms"),
    ]
    for kind in ("mlp", "linear"):
        first: tuple[float, int] | None = None
        for keys, values in ((46, 1000), (200, 1000), (200, 10_000), (1000, 10_000)):
            taxonomy = words(keys, values)
            module = LinearHeads(FEATURES, taxonomy) if kind == "linear" else FusedHeads(FEATURES, taxonomy, NARROW)
            size = sum(p.numel() for p in module.parameters())
            name = f"{kind}: {keys:,} keys, {values:,} values"
            ms = 1e3 * interleaved({name: ForwardBackward(module, batch)}, rounds)[name]
            first = first or (ms, size)
            rows.append(Row(name, ms, "ms", (ms / first[0]) / (size / first[1]), "growth of time by growth of weights"))
    report(f"Heads, forward and backward, batch {batch}, on {device()}", rows, json)


if __name__ == "__main__":
    cyclopts.run(main)
