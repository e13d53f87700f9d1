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
        width: channels between the convolutions.
        layers: 3x3 convolutions one after another, the first and the last included.
    """

    inputs: int
    outputs: int
    width: int
    layers: int

    @property
    def radius(self) -> int:
        """Blocks around a block that its pixels depend on."""
        return self.layers


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
        self.body = nn.ModuleList(
            Conv(shape.width, shape.width, 0.1 if _ends_step(i, shape) else 1.0) for i in range(shape.layers - 2)
        )
        self.leave = Conv(shape.width, shape.outputs, 0.1)
        self.direct = Conv(shape.inputs, shape.outputs, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        h = step = self.enter(x)
        for i, convolution in enumerate(self.body):
            step = convolution(F.relu(step))
            if _ends_step(i, self.shape):
                h = step = h + step
        return UNIT * (self.leave(F.relu(h)) + self.direct(x)).float()

    def grow_from(self, smaller: dict[str, Tensor]) -> None:
        """Start from the weights of a net with fewer layers or other outputs: what is added begins by doing nothing."""
        own = self.state_dict()
        for name in ("enter.weight", "direct.weight"):  # inputs may have been added behind the others
            value = smaller[name]
            if len(value) == len(own[name]) and value.shape[1] < own[name].shape[1]:
                smaller[name] = F.pad(value, (0, own[name].shape[1] - value.shape[1]))
        known = {name: value for name, value in smaller.items() if name in own and own[name].shape == value.shape}
        self.load_state_dict(known, strict=False)
        for i, convolution in enumerate(self.body):
            if f"body.{i}.weight" not in known and _ends_step(i, self.shape):
                nn.init.zeros_(convolution.weight)


def _ends_step(i: int, shape: Shape) -> bool:
    """Whether a residual step ends with this convolution: every second one, and the last."""
    return i % 2 == 1 or i == shape.layers - 3
