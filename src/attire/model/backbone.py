"""Any timm model as a feature extractor, with pretrained weights from timm's hub or from a safetensors file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attire.errors import ConfigError, WeightsError, did_you_mean
from attire.pixels import torchvision_ops  # noqa: F401

import timm  # isort: skip  (after ops)
from timm.data import resolve_model_data_config  # isort: skip

logger = logging.getLogger(__name__)
SCRATCH = "none"  # the word for `weights` that means: start from random weights


def create_backbone(name: str, weights: str | Path | None = SCRATCH) -> nn.Module:
    """A timm model without its classifier: float32[B, 3, H, W] -> float32[B, F]; F is its `feature_width`.

    `weights`: None for timm's pretrained weights (downloaded once), "none" for random ones, else a safetensors file.
    Raises `ConfigError` for an unknown name and `WeightsError` for weights that cannot be had or do not fit.
    """
    _check_name(name)
    if weights is None:
        return _pretrained(name)
    backbone: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    if str(weights) != SCRATCH:
        _load(backbone, name, Path(weights))
    return backbone


class MultiScale(nn.Module):
    """Mean and maximum of each of a backbone's last stages: float32[B, 3, H, W] -> float32[B, F], as square roots.

    Colour, texture and small parts live in the stages before the last, which its own pooling does not see. The signed
    square root evens out activations of very different size (Perronnin et al., "Improving the Fisher kernel", 2010).
    """

    def __init__(self, backbone: nn.Module, stages: int = 3) -> None:
        """Raises `ConfigError` for a backbone whose stages timm cannot tell apart."""
        super().__init__()
        if not hasattr(backbone, "forward_intermediates"):
            raise ConfigError('this backbone has no stages to pool: take another one, or pooling = "last".')
        self.backbone, self.stages = backbone, stages
        self.pretrained_cfg = backbone.pretrained_cfg
        self.num_features = 2 * sum(info["num_chs"] for info in backbone.feature_info[-stages:])  # type: ignore[index]

    def forward(self, pixels: Tensor) -> Tensor:
        return self.pool(self.maps(pixels))

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """What the last stages put out, each float32[B, channels, h, w]."""
        maps: list[Tensor] = self.backbone.forward_intermediates(  # type: ignore[operator]
            pixels, indices=self.stages, intermediates_only=True
        )
        return maps

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Their features, float32[B, F]."""
        pooled = torch.cat([pool for x in maps for pool in (x.mean((2, 3)), x.amax((2, 3)))], dim=1).float()
        return pooled.sign() * pooled.abs().clamp(min=1e-6).sqrt()  # the root's slope has no end at zero


def feature_width(backbone: nn.Module) -> int:
    """F: timm's `num_features` are those before a layer that some backbones have between pooling and classifier."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def without_pooling(backbone: nn.Module) -> nn.Module:
    """`backbone`, changed so that it gives a map: float32[B, 3, H, W] -> float32[B, F, h, w].

    Raises `ConfigError` for one that has no such map (tokens, channels last, a single position): tried on one photo.
    """
    backbone.reset_classifier(0, global_pool="")  # type: ignore[operator]
    training = backbone.training
    with torch.no_grad():
        shape = backbone.eval()(torch.zeros(1, *data_config(backbone)["input_size"])).shape
    backbone.train(training)
    if len(shape) != 4 or shape[1] != feature_width(backbone) or shape[2:].numel() == 1:
        raise ConfigError(
            f'head = "csra" needs a backbone that gives a map [{feature_width(backbone)}, h, w]; this one gives '
            f'{list(shape[1:])}. Take a convolutional one (resnet50, convnext_tiny), or head = "mlp".'
        )
    return backbone


def data_config(backbone: nn.Module) -> dict[str, Any]:
    """timm's normalisation and interpolation for the backbone."""
    config: dict[str, Any] = resolve_model_data_config(backbone)  # type: ignore[no-untyped-call]
    return config


def _check_name(name: str) -> None:
    """Raise `ConfigError` for an architecture that timm does not know, or a tag (what stands after the dot) that it
    has no weights for."""
    if not timm.is_model(name):
        raise ConfigError(f"backbone '{name}' is not a timm model{did_you_mean(name, timm.list_models())}")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        architecture = name.partition(".")[0]
        known = timm.list_models(f"{architecture}.*", pretrained=True)
        raise ConfigError(
            f"backbone '{name}' is not a timm model{did_you_mean(name, known)} Expected {architecture}, or one of its "
            f"weights: {', '.join(known)}."
        ) from None


def _pretrained(name: str) -> nn.Module:
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's client raises a different family of errors for each way of being offline
        reason = str(error).partition(". ")[0].strip() or type(error).__name__
        raise WeightsError(
            f"cannot fetch pretrained weights of '{name}' ({reason}).\n"
            f"  On a machine without a hub: --weights FILE.safetensors (timm's parameter names, cast to float32),\n"
            f"  or fetch them elsewhere and copy that machine's Hugging Face cache,\n"
            f"  or --weights none to start from random weights (needs far more photos and epochs)."
        ) from error
    return backbone


def _load(backbone: nn.Module, name: str, path: Path) -> None:
    """Fill `backbone` from `path`; a classifier in the file is left out, anything else must fit."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read the weights {path}: {error}. Expected a safetensors file.") from None
    own = backbone.state_dict()
    classifier = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    classifiers = [classifier] if isinstance(classifier, str) else list(classifier)
    extra = {k for k in state.keys() - own.keys() if k.rpartition(".")[0] not in classifiers}
    missing = own.keys() - state.keys()
    wrong = {k for k in own.keys() & state.keys() if own[k].shape != state[k].shape}
    if extra or missing or wrong:
        shown = [f"  missing: {k}" for k in sorted(missing)[:3]] + [
            f"  not in '{name}': {k}" for k in sorted(extra)[:3]
        ]
        shown += [f"  {k}: {tuple(state[k].shape)}, expected {tuple(own[k].shape)}" for k in sorted(wrong)[:3]]
        raise WeightsError(
            f"{path} does not fit '{name}': {len(missing)} parameters missing, {len(extra)} unknown, "
            f"{len(wrong)} of another shape. Is it the file of another architecture?\n" + "\n".join(shown)
        )
    if left_out := sorted(state.keys() - own.keys()):
        logger.info("%s: left out its classifier (%s)", path.name, ", ".join(left_out))
    backbone.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items() if k in own})
    if broken := not_numbers(backbone):
        raise WeightsError(f"{path} holds what is no number (NaN or infinite), as in {broken[0]}: it is damaged.")


def parameter_count(module: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def fastest_precision() -> Literal["bf16-mixed", "32-true"]:
    """Lightning's precision for this machine: bf16 where the hardware multiplies it natively, else float32."""
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"


def not_numbers(module: nn.Module) -> list[str]:
    """Names of parameters with NaN or infinity in them, and of buffers with NaN: some hold infinite bounds."""
    parameters = [name for name, value in module.named_parameters() if not bool(value.isfinite().all())]
    return parameters + [name for name, value in module.named_buffers() if bool(value.isnan().any())]


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
