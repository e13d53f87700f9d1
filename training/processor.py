"""What a net is trained on, and how exactly it multiplies there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from onboard.errors import InputError

LEAST_GAIN = 1.2  # in speed that bfloat16 must have: a tie would be decided by chance, and other weights come of it
TRIAL = 4, 96, 40  # crops, channels and cells a side of what both are timed on
TRIALS = 3  # the fastest counts


@dataclass(frozen=True)
class Processor:
    """A device, and whether it multiplies in bfloat16 (sums stay float32)."""

    device: torch.device
    half: bool

    @classmethod
    def choose(cls, name: str, seconds: Callable[[bool], float] | None = None) -> Processor:
        """By name: "cpu", "cuda" or "auto", the GPU where there is one. Raises InputError when "cuda" finds none.

        Args:
            seconds: that a CPU takes in float32 (False) and in bfloat16 (True), which are measured without it. Its
                instructions do not tell: bfloat16 is 13 times slower where it has none for it, up to twice as fast
                where it has, and half as fast on a Xeon of the fifth generation that has AVX-512 BF16 without AMX.
        """
        gpu = torch.cuda.is_available()
        if name == "cuda" and not gpu:
            raise InputError("--device cuda: PyTorch finds no GPU; use --device cpu, or install its CUDA build")
        if gpu and name != "cpu":
            return cls(torch.device("cuda"), torch.cuda.is_bf16_supported(including_emulation=False))
        measured = seconds or _trial_seconds
        return cls(torch.device("cpu"), LEAST_GAIN * measured(True) < measured(False))

    def precision(self) -> torch.autocast:
        """The context in which a net runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "the CPU"
        return f"{name}, in {'bfloat16' if self.half else 'float32 (bfloat16 is not clearly faster)'}"


def _trial_seconds(half: bool) -> float:
    """Seconds of a CPU for a convolution, forward and backward."""
    crops, channels, side = TRIAL
    given = torch.ones(crops, channels, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.ones(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    times = []
    for _ in range(1 + TRIALS):  # the first one prepares
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            made = F.conv2d(given, kernel, padding=1)
        made.float().sum().backward()
        times.append(time.perf_counter() - began)
    return min(times[1:])
