"""Checkpoints of trained nets: what is in them, and weights to start from, also out of shipped nets."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onboard.errors import InputError
from onboard.ground.features import LAYOUTS
from onboard.ground.nets import named
from onboard.image_io import read_bytes, write_bytes
from onboard.model import Model

State = dict[str, Tensor]

_KEYS = {"about", "shape", "step", "mean", "net", "optimisers", "schedules", "curve"}
_ABOUT_KEYS, _SHAPE_KEYS = {"net", "part", "model"}, {"inputs", "outputs", "width", "layers"}


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all. Raises InputError."""
    out = io.BytesIO()
    torch.save(state, out)
    write_bytes(str(path), out.getvalue())


def load(path: Path) -> dict[str, Any]:
    """A checkpoint. Raises InputError."""
    data = read_bytes(str(path))
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        whole = set(state) >= _KEYS and set(state["about"]) >= _ABOUT_KEYS and set(state["shape"]) >= _SHAPE_KEYS
    except Exception:  # other bytes come to errors of any kind, and to advice to read them unsafely
        whole = False
    if not whole:
        raise InputError(f"{path}: not a checkpoint of `onboard-train enhance`")
    return state


def mean_of(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint with the mean of the weights of several of one shape: where a run began and where it ended, say.

    All else is the last one's, the curve as well: that of the mean is not known. Raises InputError when shapes, parts
    or models differ.
    """
    *_, last = states
    if any(_kind(state) != _kind(last) for state in states):
        kinds = ", ".join("a {1} net for model {2}".format(*_kind(state)) for state in states)
        raise InputError(f"the mean of weights needs checkpoints of one part, model and shape, not {kinds}")
    mean = {name: sum(s["mean"][name] for s in states) / len(states) for name in last["mean"]}
    about = {**last["about"], "mean_of_steps": [s["step"] for s in states]}
    return {**last, "about": about, "mean": mean}


def _kind(state: dict[str, Any]) -> tuple[Any, str, str]:
    """Shape, part and model of a checkpoint."""
    return state["shape"], state["about"]["part"], state["about"]["model"]


def carried(state: dict[str, Any], old: Model, new: Model) -> dict[str, Any]:
    """A checkpoint of a net for model `old` as one for `new`, whose latents are the same.

    Raises InputError when the net is for another model, or when more than the models' code tables differs.
    """
    ids = [f"{model.model_id:04x}" for model in (old, new)]
    if state["about"]["model"] != ids[0]:
        raise InputError(f"the net is for model {state['about']['model']}, not for {ids[0]}")
    if not new.has_latents_of(old):
        raise InputError(f"models {ids[0]} and {ids[1]} differ in more than code tables: the net must be trained anew")
    return {**state, "about": {**state["about"], "model": ids[1], "trained_for": ids[0]}}


def report_of(state: dict[str, Any]) -> dict[str, Any]:
    """What is worth knowing of a checkpoint, in plain values."""
    parameters = sum(value.numel() for value in state["mean"].values())
    return {**state["about"], "parameters": parameters, "shape": state["shape"], "curve": state["curve"]}


def start_weights(path: Path, part: str, model: str) -> State:
    """Weights for a net of a part, for a model (its id in hexadecimal), to start from.

    Raises InputError when those of `path` see something else.
    """
    if path.suffix == ".tflite":
        _, own, its_model, _ = named(path.name) or ("", "", "", 0)
    else:
        about = load(path)["about"]
        own, its_model = about["part"], about["model"]
    if own not in LAYOUTS:
        raise InputError(f"{path}: must be a checkpoint, or have a name such as small-luma-b9d5-r4.tflite")
    if its_model != model:
        raise InputError(
            f"{path}: a net for model {its_model}, not for {model}: give the file of {its_model} with --model; where "
            "only code tables differ, `onboard-train export-nets --carry` makes a net to start from"
        )
    theirs, ours, weights = LAYOUTS[own], LAYOUTS[part], weights_of(path)
    if (theirs.cell, theirs.squares, theirs.blocks) != (ours.cell, ours.squares, ours.blocks):
        raise InputError(f"{path}: a net of {own} has other cells than one of {part}")
    inputs = weights["enter.weight"].shape[1] // 9
    if inputs != theirs.channels:
        raise InputError(f"{path}: has {inputs} inputs where a net of {own} has {theirs.channels} today")
    return weights


def weights_of(path: Path) -> State:
    """Weights to start from: a checkpoint's, or a shipped .tflite's. Raises InputError."""
    if path.suffix != ".tflite":
        return dict(load(path)["mean"])
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        net = Interpreter(model_content=path.read_bytes(), experimental_op_resolver_type=plain)
        net.allocate_tensors()
        operations = net._get_ops_details()  # nothing public says which bias goes with which kernel
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: not a net of this project ({' '.join(str(e).split())})") from None
    tensors = {tensor["index"]: tensor for tensor in net.get_tensor_details()}
    widened = {int(o["outputs"][0]): int(o["inputs"][0]) for o in operations if o["op_name"] == "DEQUANTIZE"}
    weights: State = {}
    for operation in operations:
        if operation["op_name"] != "CONV_2D":
            continue
        _, kernel, bias = map(int, operation["inputs"])
        kernel = widened.get(kernel, kernel)
        told = re.search(r"Conv_(\w+);\d*$", tensors[kernel]["name"])
        if told is None:
            continue
        layer = f"body.{told[1]}" if told[1].isdigit() else told[1]
        value = net.get_tensor(kernel).astype(np.float32).transpose(0, 3, 1, 2)
        weights[f"{layer}.weight"] = torch.from_numpy(value.reshape(len(value), -1).copy())
        weights[f"{layer}.bias"] = torch.from_numpy(net.get_tensor(bias).astype(np.float32))
    if "enter.weight" not in weights:
        raise InputError(f"{path}: not a net of this project")
    return weights
