"""Short names of backbones that are worth trying, and the licences of their weights.

The figures are those that their authors state, so they are on ImageNet and not on products: zero-shot accuracy where
photos were learned from texts, and accuracy of trained classifiers otherwise. They rank backbones of one kind only.
"""

from __future__ import annotations

from typing import NamedTuple

from attire.pixels import torchvision_ops  # noqa: F401

import timm  # isort: skip  (after ops)

SIGLIP2, CLIP, PE = "arXiv 2502.14786", "arXiv 2103.00020", "arXiv 2504.13181"
DINOV3, MOBILECLIP2, LITE0 = "arXiv 2508.10104", "arXiv 2508.20691", "its package"
# Of one contest of attributes of fashion products, by nearest neighbours of frozen features: the score of the best
# ImageNet network was 0.669 (SE-ResNeXt).
MEESHO = "Meesho's contest of 2024: {} (SE-ResNeXt 0.669)"


class Preset(NamedTuple):
    """A backbone by its timm name; `published`: what its authors, or others, say about it; `source`: where."""

    timm_name: str
    published: str
    source: str


PRESETS = {
    "efficientnet-lite0": Preset("tf_efficientnet_lite0", "ImageNet 75.1%", LITE0),
    "mobileclip2-s0": Preset("fastvit_mci0.apple_mclip2_dfndr2b", "zero-shot ImageNet 71.5%", MOBILECLIP2),
    "mobileclip2-s2": Preset("fastvit_mci2.apple_mclip2_dfndr2b", "zero-shot ImageNet 77.2%", MOBILECLIP2),
    "pe-core-s16": Preset("vit_pe_core_small_patch16_384.fb", "zero-shot ImageNet 72.7%", PE),
    "pe-core-b16": Preset("vit_pe_core_base_patch16_224.fb", "zero-shot ImageNet 78.4%", PE),
    "dinov3-s16": Preset("vit_small_patch16_dinov3.lvd1689m", "linear ImageNet-ReaL 87.0%", DINOV3),
    "dinov3-b16": Preset("vit_base_patch16_dinov3.lvd1689m", "linear ImageNet-ReaL 89.3%", DINOV3),
    "clip-b32": Preset("vit_base_patch32_clip_quickgelu_224.openai", MEESHO.format(0.724), CLIP),
    "clip-l14": Preset("vit_large_patch14_clip_quickgelu_224.openai", MEESHO.format(0.778), CLIP),
    "siglip2-b32": Preset("vit_base_patch32_siglip_256.v2_webli", "zero-shot ImageNet 74.0%", SIGLIP2),
    "siglip2-b16": Preset("vit_base_patch16_siglip_224.v2_webli", "zero-shot ImageNet 78.2%", SIGLIP2),
    "siglip2-l16": Preset("vit_large_patch16_siglip_256.v2_webli", "zero-shot ImageNet 82.5%", SIGLIP2),
}
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


def licence(name: str) -> str | None:
    """The licence of the pretrained weights of the timm model `name`, as timm states it; None if it does not."""
    config = timm.models.get_pretrained_cfg(name)
    return None if config is None else config.license


def terms(licence: str | None) -> str | None:
    """What a licence asks for, if it does not allow every use."""
    if licence is None:
        return "timm states no licence"
    return None if licence in FREE else TERMS.get(licence, "read it before you use the model")
