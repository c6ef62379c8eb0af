"""Heat maps over the network's input: which places of the last map speak for a value (Grad-CAM's family, by torchcam).

Selvaraju et al. ("Grad-CAM", ICCV 2017) explain the value's logit before softmax. A softmax only compares: what all
logits of a key have in common (the white corners of every photo) decides nothing, and was most of what the map showed.
So the score is the value's log odds: its logit, less the log-sum-exp of its rivals' where a softmax decides.

Of a backbone that pools several stages only the last is shown: what earlier stages add is mostly edges of the photo.
A first look (myntra26 val, recipe frozen on ResNet-50, some 20 answers): blurring the hottest 15% of the photo lowered
the answer's log probability by 1.8, with Grad-CAM 1.0, LayerCAM 1.5, all three stages 1.4, a random 15% 0.5. The plain
logit did no worse than the log odds there; its maps had the white corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.errors import ConfigError, MissingExtraError
from attire.model.backbone import MultiScale
from attire.model.heads import pooled
from attire.model.network import Network


def heat_maps(
    network: Network, pixels: Tensor, columns: Sequence[int], rivals: Sequence[Sequence[int]], *, category: bool
) -> Tensor:
    """How much each place of each photo raises its score: float32[B, H, W], 0 where it does not; of no unit.

    pixels: float32[B, 3, H, W], normalised; columns: the explained one, for each photo, among the logits of `category`
    or of the attributes; rivals: those that share a softmax with it, none for a sigmoid. No weight, hook or gradient of
    the network is touched. Raises `MissingExtraError` without torchcam, and `ConfigError` for a backbone with tokens
    instead of maps.
    """
    try:
        from attire.explanation.hirescam import HiResCAM
    except ImportError:
        raise MissingExtraError("explaining an answer", "explain") from None
    scored = _Scored(network, columns, rivals, category=category)
    with HiResCAM(scored, scored.tap) as method:
        (maps,) = method(class_idx=0, scores=scored(pixels), normalized=False)
    if scored.mirrored:
        plain, mirrored = maps.chunk(2)
        maps = plain + mirrored.flip(2)
    size = (pixels.shape[2], pixels.shape[3])
    return F.interpolate(maps[:, None], size, mode="bicubic")[:, 0].clamp(min=0)


class _Scored(nn.Module):
    """The log odds of each photo's explained value, with a tap on the last map that the backbone pools.

    Only what follows the map is differentiated. Of a network that sees mirror images the views follow one another, and
    each has its photo's score: float32[V * B, 1].
    """

    def __init__(
        self, network: Network, columns: Sequence[int], rivals: Sequence[Sequence[int]], *, category: bool
    ) -> None:
        super().__init__()
        self.columns, self.rivals, self.tap = columns, rivals, nn.Identity()
        own = network.category_backbone if category else None  # sees no mirror image and has no trunk
        self.backbone = own or network.backbone
        self.mirrored = network.flip and own is None
        self.logits: Callable[[Tensor], Tensor] = (
            (lambda features: network.heads.category(pooled(features)))
            if own
            else lambda features: network.heads(features)[0 if category else 1]
        )

    def forward(self, pixels: Tensor) -> Tensor:
        views = torch.cat([pixels, pixels.flip(3)]) if self.mirrored else pixels
        with torch.no_grad():
            maps = _maps(self.backbone, views)
        features = _pool(self.backbone, [*maps[:-1], self.tap(maps[-1].requires_grad_())])
        logits = self.logits(_one_view(features) if self.mirrored else features).float()
        odds = [
            row[column] - (row[list(others)].logsumexp(0) if others else 0)
            for row, column, others in zip(logits, self.columns, self.rivals, strict=True)
        ]
        return torch.stack(odds)[:, None].repeat(len(views) // len(pixels), 1)


def _maps(backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
    """What the backbone pools into features, each float32[B, channels, h, w]."""
    if isinstance(backbone, MultiScale):
        return backbone.maps(pixels)
    last: Tensor = backbone.forward_features(pixels)  # type: ignore[operator]
    if last.ndim != 4:
        raise ConfigError(
            f"{type(backbone).__name__} makes tokens of a photo, not a map, so there is no place to point at. "
            'Expected a bundle with a convolutional backbone, or with pooling = "multiscale".'
        )
    return [last.permute(0, 3, 1, 2) if _channels_last(backbone) else last]


def _one_view(features: Tensor) -> Tensor:
    """The mean over both views; of maps, laid on one another."""
    plain, mirrored = features.chunk(2)
    return (plain + (mirrored.flip(3) if mirrored.ndim == 4 else mirrored)) / 2


def _pool(backbone: nn.Module, maps: list[Tensor]) -> Tensor:
    """The features float32[B, F] of `_maps`."""
    if isinstance(backbone, MultiScale):
        return backbone.pool(maps)
    last = maps[0].permute(0, 2, 3, 1) if _channels_last(backbone) else maps[0]
    features: Tensor = backbone.forward_head(last)  # type: ignore[operator]
    return features


def _channels_last(backbone: nn.Module) -> bool:
    return getattr(backbone, "output_fmt", "NCHW") == "NHWC"
