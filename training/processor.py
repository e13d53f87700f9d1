"""What a net is trained on, and how exactly it multiplies there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from onboard.errors import InputError

FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # instructions of x86 and ARM; without them it is 13 times slower


@dataclass(frozen=True)
class Processor:
    """A device, and whether it multiplies in bfloat16 (sums stay float32)."""

    device: torch.device
    half: bool

    @classmethod
    def choose(cls, name: str) -> Processor:
        """By name: "cpu", "cuda" or "auto", the GPU where there is one. Raises InputError when "cuda" finds none."""
        gpu = torch.cuda.is_available()
        if name == "cuda" and not gpu:
            raise InputError("--device cuda: PyTorch finds no GPU; use --device cpu, or install its CUDA build")
        if gpu and name != "cpu":
            return cls(torch.device("cuda"), torch.cuda.is_bf16_supported(including_emulation=False))
        return cls(torch.device("cpu"), has_fast_bfloat16(torch.cpu.get_capabilities()))

    def precision(self) -> torch.autocast:
        """The context in which a net runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "the CPU"
        return f"{name}, in {'bfloat16' if self.half else 'float32 (it has no fast bfloat16)'}"


def has_fast_bfloat16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a CPU of such capabilities gains by bfloat16."""
    return any(capabilities.get(name) for name in FAST_BFLOAT16)
