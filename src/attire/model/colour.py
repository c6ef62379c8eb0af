"""The colour branch: a photo's colours as fixed features, and the layers that turn them into attribute logits.

A backbone that was trained to name objects learns to ignore colour, and its first stages, which see it, are not pooled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Architecture
from attire.model.heads import LinearHeads
from attire.model.layout import KeyHeads, Layout, PartedHeads, laid_out
from attire.taxonomy import Taxonomy

VERSION = 1  # of the features; a change that gives other numbers needs another one
SIDE = 32  # pixels looked at along the shorter side of a photo; more do not change its colours
LIGHTNESS = (0.0, 100.0, 5)  # the first and last centre of the bins of L*, and their number
CHROMA = (-8.0, 8.0, 7)  # of the signed square roots of a* and b*, so that bins are finest around grey
ROWS, COLUMNS = 6, 4  # of the grid
BINS = LIGHTNESS[2] * CHROMA[2] ** 2
COLOURS = 2 * BINS + 4 * ROWS * COLUMNS
WHITE = (235 / 255, 250 / 255)  # the darkest channel of a pixel that is hardly, and of one that is surely background
XYZ = (  # of linear sRGB, relative to the white point D65 (IEC 61966-2-1)
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)


class Colours(nn.Module):
    """The colours of a product: normalised pixels float32[B, 3, H, W] -> float32[B, COLOURS], without parameters.

    Square roots of two histograms in CIELAB with soft bins, of the whole photo and of its centre; then, for each cell
    of a grid, its mean colour and the share of it that the product covers. White background counts as nothing.
    """

    mean: Tensor
    std: Tensor
    xyz: Tensor
    lightness: Tensor
    chroma: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """`mean` and `std` are those that the pixels were normalised with, per RGB channel."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.register_buffer("xyz", torch.tensor(XYZ), persistent=False)
        self.register_buffer("lightness", torch.linspace(*LIGHTNESS), persistent=False)
        self.register_buffer("chroma", torch.linspace(*CHROMA), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        step = max(1, min(pixels.shape[2:]) // SIDE)
        rgb = (pixels[:, :, ::step, ::step].float() * self.std + self.mean).clamp(0, 1)
        height, width = rgb.shape[2:]
        product = ((WHITE[1] - rgb.amin(1)) / (WHITE[1] - WHITE[0])).clamp(0, 1)  # [B, h, w]
        lab = _lab(rgb, self.xyz)
        middle = (slice(None), slice(height // 4, height - height // 4), slice(width // 4, width - width // 4))
        whole = self._histogram(lab.flatten(1, 2), product.flatten(1))
        centre = self._histogram(lab[middle].flatten(1, 2), product[middle].flatten(1))
        return torch.cat([whole, centre, _grid(lab, product)], dim=1)

    def _histogram(self, lab: Tensor, product: Tensor) -> Tensor:
        """Soft histogram of lab [B, P, 3] with weights `product` [B, P] -> its square root, [B, BINS]."""
        lightness, a, b = lab.unbind(2)
        light = _soft_bins(lightness, self.lightness) * product[..., None]
        hue = _soft_bins(_root(a), self.chroma)[..., None] * _soft_bins(_root(b), self.chroma)[..., None, :]
        counts = (light.transpose(1, 2) @ hue.flatten(2)).flatten(1)
        return (counts / product.sum(1, keepdim=True).clamp(min=1)).sqrt()


class ColourHead(nn.Sequential):
    """What the colours add to the attribute logits: float32[B, COLOURS] -> float32[B, K]. The category ignores them."""

    def __init__(self, taxonomy: Taxonomy, architecture: Architecture, dropout: float, layout: Layout = ()) -> None:
        width = architecture.colour
        super().__init__(
            # Many bins are nearly always empty: a larger eps keeps the few photos that fill them from being outliers.
            nn.BatchNorm1d(COLOURS, affine=False, eps=1e-3),
            nn.Dropout(dropout),
            nn.Linear(COLOURS, width),
            nn.GELU(),
            nn.Dropout(dropout),
            laid_out(taxonomy, layout, lambda part: LinearHeads(width, part)),
        )

    @property
    def values(self) -> KeyHeads | PartedHeads:
        """The last layer."""
        layer = self[-1]
        assert isinstance(layer, KeyHeads | PartedHeads)
        return layer

    def hidden(self, colours: Tensor) -> Tensor:
        """What the last layer sees: float32[B, COLOURS] -> float32[B, width]."""
        for layer in list(self)[:-1]:
            colours = layer(colours)
        return colours


def _lab(rgb: Tensor, xyz: Tensor) -> Tensor:
    """CIELAB under D65 of sRGB [B, 3, h, w] in [0, 1] -> [B, h, w, 3]."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4).permute(0, 2, 3, 1)
    x, y, z = F.linear(linear, xyz).clamp(min=0).unbind(3)
    fx, fy, fz = (torch.where(t > 0.008856, t.clamp(min=0.008856) ** (1 / 3), 7.787 * t + 16 / 116) for t in (x, y, z))
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=3)


def _root(x: Tensor) -> Tensor:
    return x.sign() * x.abs().sqrt()


def _soft_bins(x: Tensor, centres: Tensor) -> Tensor:
    """Divide each x between its two nearest bins, linearly: [..., P] -> [..., P, len(centres)]; rows sum to 1."""
    inside = torch.minimum(torch.maximum(x, centres[0]), centres[-1])[..., None]
    return (1 - (inside - centres).abs() / (centres[1] - centres[0])).clamp(min=0)


def _grid(lab: Tensor, product: Tensor) -> Tensor:
    """Mean colour of the product in each cell, and the share it covers: [B, 4 * ROWS * COLUMNS]."""
    height, width = product.shape[1:]
    down, along = (
        torch.arange(size, device=lab.device) * count // size for size, count in ((height, ROWS), (width, COLUMNS))
    )
    cells = F.one_hot(down[:, None] * COLUMNS + along, ROWS * COLUMNS).float().flatten(0, 1)  # [P, cells]
    scaled = torch.cat([lab / 100 * product[..., None], product[..., None]], dim=3).flatten(1, 2)
    sums = cells.T @ scaled
    means = sums[..., :3] / sums[..., 3:].clamp(min=1)
    return torch.cat([means, sums[..., 3:] / cells.sum(0)[:, None].clamp(min=1)], dim=2).flatten(1)
