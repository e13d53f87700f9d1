"""The neural decoders in PyTorch: convolutions on a grid of cells, which are blocks or parts of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNIT = 16.0  # levels of a pixel per unit of a net's output: keeps outputs near one


@dataclass(frozen=True)
class Shape:
    """How large a net is.

    Attributes:
        inputs, outputs: channels a cell.
        width: channels between the convolutions.
        layers: 3x3 convolutions one after another, the first and the last included.
    """

    inputs: int
    outputs: int
    width: int
    layers: int


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
    """Features (n, inputs, rows, columns) to what a cell's pixels lack, (n, outputs, rows, columns)."""

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

    @torch.no_grad()
    def grow_from(self, nets: Sequence[dict[str, Tensor]]) -> None:
        """Start as the mean of smaller nets, side by side in the channels of this one.

        What is added, channels and layers, begins by doing nothing. Raises ValueError when the nets do not fit in.
        """
        width = sum(len(net["enter.weight"]) for net in nets)
        layers = 3 + max(int(name.split(".")[1]) for net in nets for name in net if name.startswith("body"))
        if width > self.shape.width or layers > self.shape.layers:
            raise ValueError(
                f"{width} channels in {layers} layers: more than the net to be trained has, {self.shape.width} in "
                f"{self.shape.layers}"
            )
        direct, leave = _by_input(self.direct.weight), _by_input(self.leave.weight)
        for weight in (direct, leave, self.direct.bias, self.leave.bias):
            weight.zero_()
        first = 0
        for net in nets:
            width = len(net["enter.weight"])
            own = slice(first, first + width)
            first += width
            _fill(self.enter, own, slice(0, None), net, "enter")
            for i, convolution in enumerate(self.body):
                if f"body.{i}.weight" in net:
                    _fill(convolution, own, own, net, f"body.{i}")
                elif _ends_step(i, self.shape):
                    convolution.weight[own].zero_()
            leave[:, own] = _by_input(net["leave.weight"]) / len(nets)
            self.leave.bias += net["leave.bias"] / len(nets)
            value = _by_input(net["direct.weight"]) / len(nets)
            direct[:, : value.shape[1]] += value  # inputs are added behind the others
            self.direct.bias += net["direct.bias"] / len(nets)


def _by_input(weight: Tensor) -> Tensor:
    """A matrix of weights as (outputs, inputs, 9)."""
    return weight.view(len(weight), -1, 9)


def _fill(convolution: Conv, rows: slice, columns: slice, net: dict[str, Tensor], name: str) -> None:
    """Put a layer of a smaller net in its place; its channels see no others."""
    value = _by_input(net[f"{name}.weight"])
    weight = _by_input(convolution.weight)[rows]
    weight.zero_()
    weight[:, columns][:, : value.shape[1]] = value
    convolution.bias[rows] = net[f"{name}.bias"]


def _ends_step(i: int, shape: Shape) -> bool:
    """Whether a residual step ends with this convolution: every second one, and the last."""
    return i % 2 == 1 or i == shape.layers - 3
