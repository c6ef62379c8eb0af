"""What is known about backbones before one is chosen: size, licence, published figures, cost on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from attire.model.backbone import SCRATCH, check_name, create_backbone, fastest_precision
from attire.model.input_size import blueprint, own_size
from attire.model.multiscale import MultiScale, default_pooling, feature_width
from attire.model.packaged_weights import PACKAGES, packaged_weights
from attire.model.presets import PRESETS, licence, terms, timm_name
from attire.progress import track

BATCH, LONG_ENOUGH_S = 4, 1.0  # photos, with their mirror images; measured time for each backbone, at least


class BackboneFacts(NamedTuple):
    """A backbone by its short name, or by timm's if it has none.

    size_px: height and width of the photos that it was trained on. width: numbers in the vector that it pools. terms:
    what its licence asks for, None if it allows every use or is not known. weights: where the pretrained weights come
    from. published: what others measured, and where. photos_per_s: that this machine embeds, each with its mirror image
    as in the recipe frozen; None if not measured.
    """

    name: str
    timm_name: str
    size_px: tuple[int, int]
    parameters: int
    width: int
    licence: str
    terms: str | None
    weights: str
    published: str
    photos_per_s: float | None = None


def backbones(names: Sequence[str] = (), *, measure: bool = False) -> list[BackboneFacts]:
    """Facts about the backbones `names` (of `PRESETS`, or timm's), by default all of `PRESETS`. Nothing is downloaded.

    measure: how many photos this machine embeds a second, with random weights; takes some seconds for each backbone.
    Raises `ConfigError` for an unknown name.
    """
    rows = [_facts(name) for name in names or PRESETS]
    if not measure:
        return rows
    return [row._replace(photos_per_s=_photos_per_s(row)) for row in track(rows, "measuring", "backbones", len(rows))]


def _facts(name: str) -> BackboneFacts:
    preset, timms = PRESETS.get(name), timm_name(name)
    check_name(timms)
    layout = blueprint(timms)
    terms_of_use = licence(timms)
    return BackboneFacts(
        name=name,
        timm_name=timms,
        size_px=own_size(layout),
        parameters=sum(parameter.numel() for parameter in layout.parameters()),
        width=feature_width(layout),
        licence=terms_of_use,
        terms=terms(terms_of_use),
        weights=_weights(timms),
        published=preset.published if preset else "",
    )


def _weights(name: str) -> str:
    if name not in PACKAGES:
        return "Hugging Face"
    return f"attire[offline]{', installed' if packaged_weights(name) else ''}"


def _photos_per_s(row: BackboneFacts) -> float:
    """Photos that are embedded a second, of the row's size and at the fastest precision of this machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain = create_backbone(row.timm_name, SCRATCH)
    backbone = MultiScale(plain, own=default_pooling(plain) == "both").eval()
    backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    photos = torch.rand(2 * BATCH, 3, *row.size_px, device=device).contiguous(memory_format=torch.channels_last)
    best, spent, half = float("inf"), 0.0, fastest_precision() == "bf16-mixed"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        backbone(photos)  # the first batch is slower
        while True:
            start = time.perf_counter()
            backbone(photos).cpu()
            seconds = time.perf_counter() - start
            best, spent = min(best, seconds), spent + seconds
            if spent >= LONG_ENOUGH_S:
                break
    return BATCH / best
