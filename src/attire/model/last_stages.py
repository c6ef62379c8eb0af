"""A network divided in two: first stages that stay as they are, and last stages and heads that are trained.

What the first stages make of a photo is computed once and cached, which makes fine-tuning several times as fast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from attire.errors import ConfigError
from attire.model.colour import COLOURS
from attire.model.multiscale import MultiScale, training_format
from attire.model.network import Logits, Network


class FirstStages(nn.Module):
    """Normalised pixels float32[B, 3, H, W] -> rows float32[B, R], the input of `LastStages`.

    A row has the colours for the colour branch, the features that are pooled from the first stages, and the map that
    the last stages continue from.
    """

    def __init__(self, network: Network, trained: int) -> None:
        """`trained` is the number of last stages that are left out. Raises `ConfigError` if they cannot be."""
        super().__init__()
        if not isinstance(network.backbone, MultiScale) or trained > network.backbone.stages:
            raise ConfigError(f'trained_stages = {trained} needs pooling = "multiscale", and can be 3 at most.')
        self.backbone, self.colours, self.trained = network.backbone, network.colours, trained

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.maps(pixels)
        parts = [] if self.colours is None else [self.colours(pixels)]
        if pooled := self.backbone.stages - self.trained:
            parts.append(self.backbone.pool(maps[-pooled:]))
        return torch.cat([*parts, maps[-1].float().flatten(1)], dim=1)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Outputs of the first stages that are pooled, at least that of the last one."""
        stages = len(self.backbone.backbone.feature_info)  # type: ignore[arg-type]
        first = min(stages - self.backbone.stages, stages - self.trained - 1)
        maps: list[Tensor] = self.backbone.backbone.forward_intermediates(  # type: ignore[operator]
            pixels, indices=[*range(first, stages - self.trained)], intermediates_only=True, stop_early=True
        )
        return maps


class LastStages(nn.Module):
    """The last stages and the heads of `network`, sharing all modules with it: rows of `FirstStages` -> `Logits`.

    Rows are float[B, R], or float[B, 2, R] of photos and their mirror images, whose features are averaged.
    """

    def __init__(self, network: Network, trained: int, size_px: tuple[int, int]) -> None:
        """`size_px` (height, width) is that of the photos. Raises `ConfigError` if the backbone cannot be divided."""
        super().__init__()
        first = FirstStages(network.eval(), trained)
        self.heads, self.trained, self.colours = network.heads, trained, 0 if network.colours is None else COLOURS
        self.features_of = first.backbone.features_of
        timm_model = first.backbone.backbone
        self.memory_format = training_format(timm_model)
        pixels = torch.rand(2, 3, *size_px, generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                self.shape = first.maps(pixels)[-1].shape[1:]
                self.last = _without(timm_model, _names_run(timm_model, lambda: first.maps(pixels)))
                divided = self.eval().features(first(pixels)[:, None])
                whole = network.with_colours(first.backbone(pixels), pixels)
            equal = torch.allclose(whole, divided, rtol=1e-3, atol=1e-4)
        except (
            AssertionError,
            AttributeError,
            RuntimeError,
            TypeError,
            ValueError,
        ):  # stages that pass on tokens, or channels last
            equal = False
        if not equal:
            raise ConfigError(
                f"trained_stages = {trained}: the stages of {type(timm_model).__name__} cannot be "
                'computed one after the other. Use trained_stages = 0 or "all" (--recipe frozen or base), or another '
                "backbone."
            )

    def forward(self, rows: Tensor, text: Tensor | None = None) -> Logits:
        logits: Logits = self.heads(self.features(rows if rows.ndim == 3 else rows[:, None]), text)
        return logits

    def features(self, rows: Tensor) -> Tensor:
        """Rows [B, V, R] of V views of each photo -> the mean of their features, as of `Network.features`."""
        colours, inputs = rows[:, 0, : self.colours].float(), rows[..., self.colours :].flatten(0, 1).float()
        pooled, last = inputs[:, : -self.shape.numel()], inputs[:, -self.shape.numel() :]
        maps = last.reshape(-1, *self.shape).contiguous(memory_format=self.memory_format)
        features = torch.cat([pooled, self.features_of(self.last, maps, self.trained)], dim=1)
        return torch.cat([features.reshape(*rows.shape[:2], -1).mean(1), colours], dim=1)


def after_last_stage(backbone: MultiScale, pixels: Tensor) -> nn.Module:
    """The timm model in `backbone` without what computes its stages: it continues from the map of the last one.

    It shares all modules with `backbone`. `pixels` float32[B, 3, H, W] are a few photos.
    """
    with torch.no_grad():
        return _without(backbone.backbone, _names_run(backbone.backbone, lambda: backbone.maps(pixels)))


def _names_run(backbone: nn.Module, run: Callable[[], object]) -> set[str]:
    """Names of the modules of `backbone` that `run` runs."""
    done: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: done.add(name))
        for name, module in backbone.named_modules()
        if name
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return done


def _without(module: nn.Module, names: set[str], prefix: str = "") -> nn.Module:
    """A shallow copy of `module` in which the modules `names` do nothing; all others are shared."""
    clone = copy.copy(module)
    clone._modules = {
        name: child
        if child is None
        else nn.Identity()
        if prefix + name in names
        else _without(child, names, f"{prefix}{name}.")
        for name, child in module._modules.items()
    }
    return clone
