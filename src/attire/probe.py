"""The probe of a bundle: two synthetic photos and a network's logits for them, so that its answers stay the same."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from attire.config import Architecture
from attire.errors import BundleError
from attire.model.network import Logits, Network
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import Taxonomy
from attire.titles import TitleReader

PROBE = "probe.safetensors"  # in a bundle
TOLERANCE = 2e-3  # of the largest logit: far more than CPUs and BLAS versions differ, too little to matter
TITLES = ("Women's navy T-shirt, 3/4 sleeve", "")  # checks that titles are still hashed in the same way


def probe_pixels(preprocess: Preprocess) -> NDArray[np.uint8]:
    """Two synthetic photos, smooth and noisy: uint8[2, 3, H, W]."""
    height, width = preprocess.size_px
    ramp = np.linspace(0, 255, height * width * 3).reshape(3, height, width)
    noise = np.random.default_rng(0).uniform(0, 255, (3, height, width))
    return np.stack([ramp, noise]).astype(np.uint8)


def make_probe(network: Network, architecture: Architecture, preprocess: Preprocess) -> dict[str, torch.Tensor]:
    """The probe's photos and the network's logits for them."""
    pixels = probe_pixels(preprocess)
    logits = _probe_logits(network, architecture, preprocess, pixels)
    return {"pixels": torch.from_numpy(pixels), "category": logits.category, "attributes": logits.attributes}


def _probe_logits(
    network: Network, architecture: Architecture, preprocess: Preprocess, pixels: NDArray[np.uint8]
) -> Logits:
    reader = TitleReader.of(architecture)
    text = None if reader is None else torch.from_numpy(reader(TITLES))
    with torch.inference_mode():
        logits: Logits = network(torch.from_numpy(preprocess.normalise(pixels)), text)
    return logits


def check_probe(
    path: Path,
    network: Network,
    architecture: Architecture,
    preprocess: Preprocess,
    taxonomy: Taxonomy,
    saved_with: Mapping[str, str] | None,
) -> None:
    """Raise `BundleError` if the logits are not those from when the bundle at `path` was saved, or not finite.

    saved_with: the versions of libraries at that time.
    """
    expected = _read_probe(path / PROBE, preprocess, taxonomy)
    try:
        logits = _probe_logits(network, architecture, preprocess, expected["pixels"].numpy())
    except (RuntimeError, AssertionError) as error:
        raise BundleError(
            f"{path} cannot predict: its network does not accept the photos in {PROBE} ({error})."
        ) from None
    for name, actual in logits._asdict().items():
        saved = expected[name]
        # This form of the comparison also fails for NaN on either side.
        if saved.numel() and not (worst := (actual - saved).abs().max()) <= TOLERANCE * max(
            1, float(saved.abs().max())
        ):
            raise BundleError(
                f"{path} gives other answers than when it was saved: its {name} logits differ by {worst:.3g}. "
                f"Saved with {saved_with}, loaded with {library_versions()}."
            )


def _read_probe(file: Path, preprocess: Preprocess, taxonomy: Taxonomy) -> dict[str, torch.Tensor]:
    """The probe, checked against the names, types and shapes of the bundle's network."""
    shapes = {
        "pixels": (torch.uint8, [2, 3, *preprocess.size_px]),
        "category": (torch.float32, [2, len(taxonomy.categories)]),
        "attributes": (torch.float32, [2, taxonomy.width]),
    }
    try:
        probe = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{file} cannot be read: {error}. Copy the bundle again.") from None
    actual = {name: (tensor.dtype, list(tensor.shape)) for name, tensor in probe.items()}
    if actual != shapes:
        raise BundleError(
            f"{file} is not the probe of this bundle: expected {_format_shapes(shapes)}, got {_format_shapes(actual)}. "
            "Copy the bundle again, or train it again."
        )
    return probe


def _format_shapes(shapes: Mapping[str, tuple[torch.dtype, list[int]]]) -> str:
    return ", ".join(
        f"{name} {str(kind).removeprefix('torch.')}{shape}" for name, (kind, shape) in sorted(shapes.items())
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a network's output depends on."""
    names = ("attire", "torch", "timm", "lightning", "numpy", "pillow", "polars")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
