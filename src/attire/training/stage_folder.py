"""The folder of one stage in a run: its settings, checkpoint and result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from attire.errors import ConfigError
from attire.files import read_json, remove_temporary, replace_text, replacing
from attire.training.trainer import CHECKPOINT

RECORD, RESULT = "stage.json", "network.safetensors"


class StageFolder:
    """OUT/STAGE with `stage.json` (the settings), checkpoints, logs and `network.safetensors` (the result)."""

    def __init__(self, out: Path, name: str) -> None:
        self.out, self.path = out, out / name
        self.record, self.result = self.path / RECORD, self.path / RESULT

    @property
    def finished(self) -> bool:
        """Whether the stage has a result."""
        return self.result.is_file()

    def begin(self, provenance: Mapping[str, Any], resume: bool) -> None:
        """Record the settings of a new stage, or check that a resumed stage has the same settings.

        Raises `ConfigError` if the stage exists and `resume` is false, or if it has other settings.
        """
        if not self.record.is_file():
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                replace_text(self.record, json.dumps(provenance, indent=1))
            except OSError as error:
                raise ConfigError(f"cannot write to {self.out}: {error.strerror}. Choose another --out.") from None
        elif not resume:
            raise ConfigError(f"{self.out} already contains a run. Continue it with --resume, or choose another --out.")
        else:
            earlier = self._read_record()
            changes = [
                f"  {field}: {earlier.get(field)} is now {value}"
                for field, value in provenance.items()
                if earlier.get(field) != value
            ]
            if changes:
                raise ConfigError(
                    f"{self.out} cannot be resumed because it was started differently:\n" + "\n".join(changes) + "\n"
                    "  Use the options it was started with, or another --out."
                )

    def checkpoint(self) -> Path | None:
        """The checkpoint to continue from, or None; raises `ConfigError` for a damaged one."""
        path = self.path / "checkpoints" / CHECKPOINT
        remove_temporary(path)
        if not path.is_file():
            return None
        try:
            torch.load(path, weights_only=True, mmap=True)  # mapped: reads the index, not the weights
        except Exception as error:  # torch raises errors of many classes for damaged files
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"{path} is damaged ({reason}): delete it to train its stage from the start.") from None
        return path

    def save_result(self, network: nn.Module, scores: Mapping[str, float]) -> None:
        """Save the network and its scores on val."""
        state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
        with replacing(self.result) as temporary:
            save_file(state, temporary, metadata={"scores": json.dumps(scores)})

    def load_result(self, network: nn.Module, prefix: str = "") -> dict[str, float]:
        """Load the tensors whose names start with `prefix` into `network`; returns the scores on val.

        Raises `ConfigError` if the file is damaged or belongs to another network.
        """
        try:
            tensors = load_file(self.result)
            with safe_open(self.result, framework="pt") as file:
                scores: dict[str, float] = json.loads((file.metadata() or {}).get("scores", "{}"))
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{self.result} is damaged ({error}): delete it and use --resume to train its stage again."
            ) from None
        try:
            network.load_state_dict(
                {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            )
        except RuntimeError as error:
            raise ConfigError(f"{self.result} does not fit the network of this recipe and catalog: {error}") from None
        return scores

    def _read_record(self) -> dict[str, Any]:
        try:
            record = read_json(self.record)
            if not isinstance(record, dict):
                raise ValueError("expected an object")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.record} cannot be read ({error}), so the run cannot be resumed: choose another --out."
            ) from None
        return record
