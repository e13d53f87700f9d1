"""`onboard-train export-nets` and `export-tflite`: trained nets, and G1 and G2, as LiteRT files (litert-torch)."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe
from torch import Tensor, nn

from onboard.ground.features import LAYOUTS
from onboard.ground.nets import ARTEFACT, named
from onboard.model import Model
from training.nets import Net, Shape

CELLS = 96  # a side that a net takes as long as nobody resizes its input
BATCH = 4096  # blocks at once, of G1 and G2
FLOAT16 = qtyping.OpQuantizationConfig(
    weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
    compute_precision=qtyping.ComputePrecision.FLOAT,
    explicit_dequantize=True,
)


@contextmanager
def _hushed() -> Iterator[None]:
    """Nothing on standard output, which is for results: the converters tell their progress there."""
    with redirect_stdout(io.StringIO()):
        yield


class _Exported(nn.Module):
    """Channels last, as LiteRT has them."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@_hushed()
def export_net(state: dict[str, Any], half: bool = True) -> bytes:
    """The running mean of a checkpoint as a LiteRT file; weights in 16 bits unless told otherwise.

    The file takes any number of rows and columns: its input tensor may be resized.
    """
    net = Net(Shape(**state["shape"])).eval()
    net.load_state_dict(state["mean"])
    data = _convert(_Exported(net), torch.zeros(1, CELLS, CELLS, net.shape.inputs))
    if not half:
        return data
    to_half = quantizer.Quantizer(bytearray(data))
    to_half.update_quantization_recipe(
        ".*", qtyping.TFLOperationName.CONV_2D, FLOAT16, algorithm_manager.AlgorithmName.FLOAT_CASTING
    )
    return bytes(to_half.quantize().quantized_model)


def net_name(state: dict[str, Any]) -> str:
    """File name under which the ground half finds a net."""
    about = state["about"]
    radius = -(-state["shape"]["layers"] // LAYOUTS[about["part"]].across)
    return ARTEFACT.format(net=about["net"], part=about["part"], model=about["model"], radius=radius)


def superseded(path: Path) -> list[Path]:
    """Files beside a net's that hold the same part of it with another radius: only one of them could be found."""
    own = named(path.name)
    told = {other: named(other.name) for other in path.parent.iterdir() if other.name != path.name}
    return [other for other, found in told.items() if found and own and found[:3] == own[:3]]


class _Units(nn.Module):
    """Some units of the encoder: samples minus 128 to latents in pixel units."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.product = nn.Linear(64, len(weights), bias=False)
        self.product.weight = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)


@_hushed()
def export_units(model: Model, group: int, activations: int) -> bytes:
    """G1 (group 1) or G2 as a LiteRT file whose weights are the model's own int8 weights.

    Args:
        activations: bits of input and output, 8 or 16. Their scales cover every block that there can be.
    """
    units = 1 if group == 1 else 8
    scale = model.multiplier[:units] / (16 * 2.0 ** model.shift[:units])
    data = _convert(_Units(model.weights[:units] * scale[:, None]), torch.zeros(BATCH, 64))
    to_int = quantizer.Quantizer(
        bytearray(data), recipe.static_wi8_ai8() if activations == 8 else recipe.static_wi8_ai16()
    )
    extremes = np.zeros((BATCH, 64), np.float32)
    extremes[:units] = np.where(model.weights[:units] > 0, 128, -128)
    extremes[units : 2 * units] = -extremes[:units]
    ranges = to_int.calibrate({"serving_default": [{"args_0": extremes}]})
    return bytes(to_int.quantize(ranges).quantized_model)


def _convert(module: nn.Module, example: Tensor) -> bytes:
    import litert_torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        litert_torch.convert(module.eval(), (example,)).export(str(path))
        return path.read_bytes()
