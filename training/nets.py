"""The neural decoders in PyTorch: convolutions on the block grid, where one step is a block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNIT = 16.0  # levels of a pixel per unit of a net's output: keeps outputs near one


@dataclass(frozen=True)
class Shape:
    """How large a net is.

    Attributes:
        inputs, outputs: channels a block.
        width: channels of the trunk.
        pairs: residual pairs of 3x3 convolutions between the first and the last one.
    """

    inputs: int
    outputs: int
    width: int
    pairs: int

    @property
    def radius(self) -> int:
        """Blocks around a block that its pixels depend on."""
        return 2 * self.pairs + 2


class Conv(nn.Module):
    """A 3x3 convolution whose weights are kept as a matrix, which is what Muon makes orthogonal."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.randn(outputs, 9 * inputs) * gain * (2 / (9 * inputs)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.view(-1, self.inputs, 3, 3).contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, kernel, self.bias, padding=1)


class Net(nn.Module):
    """Features (n, inputs, rows, columns) to what a block's pixels lack, (n, outputs, rows, columns)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.enter = Conv(shape.inputs, shape.width)
        self.pairs = nn.ModuleList(_pair(shape.width, 0.1) for _ in range(shape.pairs))
        self.leave = Conv(shape.width, shape.outputs, 0.1)
        self.direct = Conv(shape.inputs, shape.outputs, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for first, second in self.pairs:
            h = h + second(F.relu(first(F.relu(h))))
        return UNIT * (self.leave(F.relu(h)) + self.direct(x)).float()

    def grow_from(self, smaller: dict[str, Tensor]) -> None:
        """Start from the weights of a net with fewer pairs, or other outputs: what is added begins by doing nothing."""
        own = self.state_dict()
        known = {name: value for name, value in smaller.items() if name in own and own[name].shape == value.shape}
        self.load_state_dict(known, strict=False)
        for i, (_, second) in enumerate(self.pairs):
            if f"pairs.{i}.1.weight" not in known:
                nn.init.zeros_(second.weight)


def _pair(width: int, gain: float) -> nn.ModuleList:
    return nn.ModuleList([Conv(width, width), Conv(width, width, gain)])
