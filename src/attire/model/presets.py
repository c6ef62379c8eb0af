"""Short names of backbones that are worth trying, and the licences of their weights.

The figures are those that their authors state, so they are on ImageNet and not on products: zero-shot accuracy where
photos were learned from texts, and accuracy of classifiers on frozen or trained features otherwise. They rank backbones
of one kind only.
"""

from __future__ import annotations

from typing import NamedTuple

from attire.pixels import torchvision_ops  # noqa: F401

import timm  # isort: skip  (after ops)

CONTEST = (
    "Meesho 2024: score in a contest on attributes of fashion products, by nearest neighbours of frozen features; the "
    "best ImageNet network there, SE-ResNeXt, had 0.669"
)


class Preset(NamedTuple):
    """A backbone by its timm name, and what its authors (or others, see `CONTEST`) say about it."""

    timm_name: str
    published: str


PRESETS = {
    "efficientnet-lite0": Preset("tf_efficientnet_lite0", "ImageNet 75.1% (its package)"),
    "mobileclip2-s0": Preset("fastvit_mci0.apple_mclip2_dfndr2b", "zero-shot ImageNet 71.5% (arXiv 2508.20691)"),
    "mobileclip2-s2": Preset("fastvit_mci2.apple_mclip2_dfndr2b", "zero-shot ImageNet 77.2% (arXiv 2508.20691)"),
    "pe-core-s16": Preset("vit_pe_core_small_patch16_384.fb", "zero-shot ImageNet 72.7% (arXiv 2504.13181)"),
    "pe-core-b16": Preset("vit_pe_core_base_patch16_224.fb", "zero-shot ImageNet 78.4% (arXiv 2504.13181)"),
    "dinov3-s16": Preset("vit_small_patch16_dinov3.lvd1689m", "linear ImageNet-ReaL 87.0% (arXiv 2508.10104)"),
    "dinov3-b16": Preset("vit_base_patch16_dinov3.lvd1689m", "linear ImageNet-ReaL 89.3% (arXiv 2508.10104)"),
    "clip-b32": Preset(
        "vit_base_patch32_clip_quickgelu_224.openai", "zero-shot ImageNet 63.2% (arXiv 2103.00020); Meesho 2024 0.724"
    ),
    "clip-l14": Preset(
        "vit_large_patch14_clip_quickgelu_224.openai", "zero-shot ImageNet 75.3% (arXiv 2103.00020); Meesho 2024 0.778"
    ),
    "siglip2-b32": Preset("vit_base_patch32_siglip_256.v2_webli", "zero-shot ImageNet 74.0% (arXiv 2502.14786)"),
    "siglip2-b16": Preset("vit_base_patch16_siglip_224.v2_webli", "zero-shot ImageNet 78.2% (arXiv 2502.14786)"),
    "siglip2-l16": Preset("vit_large_patch16_siglip_256.v2_webli", "zero-shot ImageNet 82.5% (arXiv 2502.14786)"),
}
UNKNOWN, NO_WEIGHTS = "not stated", "none: random weights"
FREE = frozenset({"apache-2.0", "bsd-3-clause", "mit"})  # for any use, if the licence is kept
TERMS = {
    "apple-amlr": "for research only, not for products",
    "apple-ascl": "Apple's own terms",
    "cc-by-nc-4.0": "not for commercial use",
    "dinov3-license": "Meta's own terms, which exclude some uses and bind whoever gets the model",
}


def timm_name(backbone: str) -> str:
    """The timm name of a preset; any other name is returned as it is."""
    return PRESETS[backbone].timm_name if backbone in PRESETS else backbone


def licence(name: str) -> str:
    """The licence of the pretrained weights of the timm model `name`, as timm states it, or `UNKNOWN`."""
    config = timm.models.get_pretrained_cfg(name)
    return (config and config.license) or UNKNOWN


def terms(licence: str) -> str | None:
    """What a licence asks for, if it is known not to allow every use."""
    if licence in FREE or licence in (UNKNOWN, NO_WEIGHTS):
        return None
    return TERMS.get(licence, "read it before you use the model")
