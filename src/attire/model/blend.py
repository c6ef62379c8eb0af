"""One network whose logits are the mean of those of several networks.

The mean of networks that were trained apart is more accurate than each of them (Lakshminarayanan et al., "Simple and
Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017). Linear heads on the trunks side by side
compute it, so the result is an ordinary network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attire.config import Architecture
from attire.errors import ConfigError
from attire.model.input_size import blueprint
from attire.model.joined import SEPARATOR, Joined
from attire.model.multiscale import default_pooling
from attire.model.network import Heads, Network, build_network
from attire.taxonomy import Taxonomy


def blended_architecture(parts: Sequence[Architecture]) -> Architecture:
    """The architecture of the blend of networks with the architectures `parts`.

    Raises `ConfigError` unless all have a trunk and linear heads, and otherwise differ in backbones and widths only.
    """
    for part in parts:
        if not (part.trunk and part.shared and part.head == "linear" and part.text == "none"):
            raise ConfigError(
                f"a network on {part.backbone} cannot be blended: it needs a trunk, linear heads and photos alone, as "
                "in the recipes frozen, tuned and base."
            )
    if len({(part.flip, part.colour > 0) for part in parts}) > 1:
        raise ConfigError(
            "networks can be blended if all have flip = true or none, and all have a colour branch or none."
        )
    return parts[0].model_copy(
        update={
            "backbone": SEPARATOR.join(part.backbone for part in parts),
            "pooling": _pooling(parts),
            "trunk": sum(part.trunk for part in parts),
            "colour": sum(part.colour for part in parts),
        }
    )


def blend_networks(
    networks: Sequence[Network], architecture: Architecture, taxonomy: Taxonomy, size_px: tuple[int, int]
) -> Network:
    """The network of `architecture` (see `blended_architecture`) whose logits are the mean of those of `networks`."""
    blend = build_network(architecture, taxonomy, size_px=size_px)
    assert isinstance(blend.backbone, Joined)
    for part, network in zip(blend.backbone.parts, networks, strict=True):
        part.load_state_dict(network.backbone.state_dict())
    with torch.no_grad():
        _blend_heads(blend.heads, [network.heads for network in networks])
    return blend.eval()


def _pooling(parts: Sequence[Architecture]) -> str:
    """The pooling of all parts; "auto" if it differs because each backbone has its own default."""
    poolings = {part.pooling for part in parts}
    if len(poolings) > 1 and all(part.pooling == default_pooling(blueprint(part.backbone)) for part in parts):
        return "auto"
    if len(poolings) > 1:
        raise ConfigError(f"networks with different pooling ({', '.join(sorted(poolings))}) cannot be blended.")
    return parts[0].pooling


def _blend_heads(blend: Heads, parts: Sequence[Heads]) -> None:
    norms, layers = zip(*(_norm_and_linear(part.trunk) for part in parts), strict=True)
    norm, layer = _norm_and_linear(blend.trunk)
    norm.load_state_dict(
        norms[0].state_dict()
        | {name: torch.cat([part.get_buffer(name) for part in norms]) for name in ("running_mean", "running_var")}
    )
    layer.weight.copy_(torch.block_diag(*(part.weight for part in layers)))  # type: ignore[no-untyped-call]
    layer.bias.copy_(torch.cat([part.bias for part in layers]))
    _average(blend.category, [part.category for part in parts])
    _average(blend.attributes, [part.attributes for part in parts])
    if blend.colour is None:
        return
    colours = [part.colour for part in parts if part.colour is not None]
    norms, layers = zip(*map(_norm_and_linear, colours), strict=True)
    norm, layer = _norm_and_linear(blend.colour)
    norm.load_state_dict(norms[0].state_dict())  # all see the same colours; the others' scale goes into their weights
    weights, biases = zip(
        *(_renormalised(part, own, norm) for part, own in zip(layers, norms, strict=True)), strict=True
    )
    layer.weight.copy_(torch.cat(weights))
    layer.bias.copy_(torch.cat(biases))
    _average(blend.colour.values, [colour.values for colour in colours])


def _norm_and_linear(layers: nn.Module) -> tuple[nn.BatchNorm1d, nn.Linear]:
    """The norm and the first linear layer after it."""
    norm = next(layer for layer in layers.children() if isinstance(layer, nn.BatchNorm1d))
    linear = next(layer for layer in layers.children() if isinstance(layer, nn.Linear))
    return norm, linear


def _average(blend: nn.Module, parts: Sequence[nn.Module]) -> None:
    """Make `blend`, whose inputs are those of `parts` side by side, compute the mean of their outputs."""
    layers = [layer for layer in (blend, *parts) if isinstance(layer, nn.Linear)]
    target, *sources = layers
    assert len(sources) == len(parts)
    target.weight.copy_(torch.cat([layer.weight for layer in sources], dim=1) / len(sources))
    target.bias.copy_(torch.stack([layer.bias for layer in sources]).mean(0))


def _renormalised(layer: nn.Linear, own: nn.BatchNorm1d, other: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight and bias of `layer`, which follows the norm `own`, if it follows `other` instead."""
    (mean, std), (other_mean, other_std) = (
        (norm.get_buffer("running_mean"), (norm.get_buffer("running_var") + norm.eps).sqrt()) for norm in (own, other)
    )
    return layer.weight * other_std / std, layer.bias + layer.weight @ ((other_mean - mean) / std)
