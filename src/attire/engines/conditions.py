"""What the speed of an engine depends on: the processor, the number of threads, the GPU, and the libraries."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field


class Conditions(BaseModel):
    """The conditions of a measurement. Which engine is the fastest is only known for equal conditions.

    instructions: the vector instructions that matter to a network. They tell processors apart that virtual machines
    give the same name. versions: those of torch and of the engines' runtimes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    threads: int
    instructions: tuple[str, ...] = ()  # records of earlier versions lack these three, so they equal no conditions
    gpu: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    def __str__(self) -> str:
        """
        >>> print(Conditions(cpu="AMD EPYC", threads=1, instructions=("AVX2",), versions={"torch": "2.13.0"}))
        AMD EPYC (AVX2), 1 thread, torch 2.13.0
        """
        instructions = f" ({', '.join(self.instructions)})" if self.instructions else ""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        versions = [f"{name} {number}" for name, number in self.versions.items()]
        return ", ".join([f"{self.cpu}{instructions}", *filter(None, [self.gpu]), threads, *versions])


def conditions_here(*runtimes: str) -> Conditions:
    """The conditions in this process. `runtimes` are packages, of which only installed ones have a version."""
    versions = {"torch": str(torch.__version__)}
    for package in sorted(runtimes):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return Conditions(
        cpu=cpu_name(),
        threads=torch.get_num_threads(),
        instructions=_instructions(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        versions=versions,
    )


def cpu_name() -> str:
    """The processor's name, as reported by the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _instructions() -> tuple[str, ...]:
    more = {
        "VNNI": torch.cpu._is_vnni_supported,
        "bfloat16": torch.cpu._is_avx512_bf16_supported,
        "AMX": torch.cpu._is_amx_tile_supported,
    }
    return (torch.backends.cpu.get_cpu_capability(), *(name for name, has in more.items() if has()))
