"""Heat maps over the network's input: which positions of the last feature map support a value (HiResCAM, by torchcam).

Grad-CAM (Selvaraju et al., ICCV 2017) explains the logit before softmax. But a softmax only compares logits: evidence
that all logits of a key share, such as the white corners of every photo, decides nothing, yet dominated those maps.
So the explained score is the value's log odds: its logit minus the log-sum-exp of its rivals, if a softmax decides.

A transformer answers from tokens that have gathered what they need in its last block, so the map is that of the patches
that enter this block (as is usual for the Grad-CAM family), and the block is differentiated too.

For a backbone that pools several stages only the last one is shown, because earlier stages mostly add edges. In a small
test (myntra26 val, recipe frozen on ResNet-50, about 20 answers), blurring the hottest 15% of the photo lowered the
answer's log probability by 1.8; by 1.0 with Grad-CAM, 1.5 with LayerCAM, 1.4 with all three stages, and 0.5 for a
random 15%. The plain logit did as well as the log odds, but its maps showed the white corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.errors import MissingExtraError
from attire.explanation.tapped import features_of
from attire.model.heads import pooled
from attire.model.network import Network


def heat_maps(
    network: Network, pixels: Tensor, columns: Sequence[int], rivals: Sequence[Sequence[int]], *, category: bool
) -> Tensor:
    """How much each position of each photo raises the explained score: float32[B, H, W], at least 0, without a unit.

    pixels: float32[B, 3, H, W], normalised. columns: for each photo, the explained column of the category or attribute
    logits (see `category`). rivals: the columns that share a softmax with it, empty for a sigmoid. The network's
    weights, hooks and gradients are not changed. Raises `MissingExtraError` without torchcam, and `ConfigError` for a
    backbone whose last part cannot be computed from a map.
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
    """The log odds of each photo's explained value, with `tap` on the map that is explained.

    Only the layers after the map are differentiated. With test-time flip, the mirrored photos follow the plain ones
    and get the same scores: float32[V * B, 1] for V views.
    """

    def __init__(
        self, network: Network, columns: Sequence[int], rivals: Sequence[Sequence[int]], *, category: bool
    ) -> None:
        super().__init__()
        self.columns, self.rivals, self.tap = columns, rivals, nn.Identity()
        separate = network.category_backbone if category else None  # has no test-time flip and no trunk
        self.backbone = separate or network.backbone
        self.mirrored = network.flip and separate is None
        self.logits: Callable[[Tensor, Tensor], Tensor] = (
            (lambda features, _pixels: network.heads.category(pooled(features)))
            if separate
            else lambda features, pixels: network.heads(network.with_colours(features, pixels))[0 if category else 1]
        )

    def forward(self, pixels: Tensor) -> Tensor:
        views = torch.cat([pixels, pixels.flip(3)]) if self.mirrored else pixels
        features = features_of(self.backbone, views, self.tap)
        logits = self.logits(_average_views(features) if self.mirrored else features, pixels).float()
        odds = [
            row[column] - (row[list(others)].logsumexp(0) if others else 0)
            for row, column, others in zip(logits, self.columns, self.rivals, strict=True)
        ]
        return torch.stack(odds)[:, None].repeat(len(views) // len(pixels), 1)


def _average_views(features: Tensor) -> Tensor:
    """Mean over plain and mirrored views; mirrored maps are flipped back first."""
    plain, mirrored = features.chunk(2)
    return (plain + (mirrored.flip(3) if mirrored.ndim == 4 else mirrored)) / 2
