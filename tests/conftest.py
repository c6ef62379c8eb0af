"""Loads torchvision's operators before any test imports timm or torchvision, as every module of attire does."""

from __future__ import annotations

from attire.pixels import ops  # noqa: F401
