"""`onboard-train enhance`: the neural decoders of the ground, from pictures that were coded, sent and partly lost.

A run that was stopped goes on where its checkpoint stands. The same seed makes the same weights on the same machine, as
long as the run is not interrupted.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from onboard.errors import InputError
from onboard.ground.features import LAYOUTS
from onboard.ground.nets import digest, named
from onboard.model import Model
from training.examples import LUMA, LUMA_PART, PARTS, Batch, Example, Pool, pictures_of, to_cells, validation
from training.losses import FEATURE_WEIGHT, SSIM_WEIGHT, Features, ssim
from training.nets import Net, Shape
from training.pictures import find, split

EMA = 0.999
WARM_UP = 100  # steps
RATE = 5e-3  # of Muon for the trunk's matrices
ADAM = 0.2  # of that, for the rest
DECAY = 0.01
NOTE_EVERY = 100
CHECK_EVERY = 1000
CHECK_SHARE = 3  # every third picture of the validation share
SIZES = {  # width, layers
    ("small", "luma"): (96, 8),
    ("small", "layered"): (96, 8),
    ("small", "doubled"): (96, 8),
    ("small", "chroma"): (96, 6),
    ("perceptual", "luma"): (96, 8),
}
HYBRID = ("perceptual",)  # nets for looks; all others are for fidelity


@dataclass(frozen=True)
class Plan:
    """How long and how a net is trained."""

    steps: int
    crops: int
    seed: int
    threads: int
    rate: float = RATE


State = dict[str, Tensor]


class Run:
    """A training run: the net, the running mean of its weights, the optimisers and what has been reached so far."""

    def __init__(self, shape: Shape, plan: Plan, about: dict[str, Any], start: Sequence[State] = ()) -> None:
        torch.manual_seed(plan.seed)
        torch.set_num_threads(plan.threads)
        self.plan, self.about = plan, about
        self.looks = Features.load() if about["loss"] == "hybrid" else None
        self.side = PARTS[about["part"]].side
        self.net = Net(shape)
        if start:
            self.net.grow_from(start)
        self.mean = {name: value.clone() for name, value in self.net.state_dict().items()}
        trunk = {name: p for name, p in self.net.named_parameters() if name.startswith("body") and p.ndim == 2}
        rest = [p for name, p in self.net.named_parameters() if name not in trunk]
        self.optimisers: list[Any] = [
            torch.optim.Muon(trunk.values(), lr=plan.rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=ADAM * plan.rate, weight_decay=DECAY, betas=(0.9, 0.98)),
        ]
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(o, self._rate) for o in self.optimisers]
        self.step = 0
        self.curve: list[dict[str, float]] = []

    def _rate(self, step: int) -> float:
        return min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(step / self.plan.steps, 1.0))))

    def learn(self, batch: Batch) -> float:
        """One step; returns the loss."""
        seen, base, target, weight = map(torch.from_numpy, (batch.seen, batch.base, batch.target, batch.weight))
        with torch.autocast("cpu", torch.bfloat16):
            shown = base + self.net(seen.contiguous(memory_format=torch.channels_last))
        loss = (((shown - target) ** 2).mean((1, 2, 3)) * weight).mean()
        if self.looks is not None:
            pair = _planes(shown, self.side), _planes(target, self.side)
            loss = loss + SSIM_WEIGHT * (1 - ssim(*pair)) + FEATURE_WEIGHT * self.looks.distance(*pair)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser, schedule in zip(self.optimisers, self.schedules, strict=True):
            optimiser.step()
            schedule.step()
        self.step += 1
        keep = min(EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """All that a later run needs to go on, or to start from."""
        return {
            "about": self.about,
            "shape": asdict(self.net.shape),
            "step": self.step,
            "mean": self.mean,
            "net": self.net.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "schedules": [s.state_dict() for s in self.schedules],
            "curve": self.curve,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stands."""
        self.net.load_state_dict(state["net"])
        kept = [*state["optimisers"], *state["schedules"]]
        for own, old in zip([*self.optimisers, *self.schedules], kept, strict=True):
            own.load_state_dict(old)
        self.mean, self.step, self.curve = state["mean"], state["step"], state["curve"]


def train_part(
    folders: list[Path],
    model: Model,
    name: str,
    part_name: str,
    plan: Plan,
    out: Path,
    start: Sequence[Path],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Train one part of a net until its plan is fulfilled, from `out` on if that exists; returns its report."""
    if min(plan.steps, plan.crops) < 1:
        raise InputError(f"{plan.steps} steps of {plan.crops} crops: both must be at least 1")
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder does not exist")
    if (name, part_name) not in SIZES:
        raise InputError(f"there is no {name} net of {part_name}, only {', '.join(' '.join(size) for size in SIZES)}")
    part, (width, layers) = PARTS[part_name], SIZES[name, part_name]
    about = {
        "net": name,
        "part": part_name,
        "model": f"{model.model_id:04x}",
        "folders": [p.name for p in folders],
        "loss": "hybrid" if name in HYBRID else "mse",
        "crops": plan.crops,
        "seed": plan.seed,
        "start": [path.name for path in start],
    }
    if not part.grey:
        about["luma"] = digest(LUMA, LUMA_PART, model.model_id)
    shape = Shape(part.layout.channels, part.outputs, width, layers)
    try:
        run = Run(shape, plan, about, [_start(path, part_name) for path in start])
    except ValueError as e:
        raise InputError(f"{', '.join(map(str, start))}: {e}") from None
    if out.exists():
        state = load(out)
        another = any(state["about"][key] != about[key] for key in ("net", "part", "model"))
        if another or state["shape"] != asdict(shape):
            raise InputError(f"{out}: holds another net than the one to be trained; give another --out")
        run.resume(state)
    training, rest = split(find(folders))
    pictures, unseen = pictures_of(training, part), pictures_of(rest, part)[::CHECK_SHARE]
    if not (pictures and unseen):
        least = part.crop // 2
        raise InputError(f"too few pictures of at least {least}x{least}: every tenth picture is kept for validation")
    pool = Pool(pictures, model, part, plan.seed + run.step)
    checks = validation(unseen, model, part)
    total, began, first = 0.0, time.monotonic(), run.step
    while run.step < plan.steps:
        total += run.learn(pool.batch(plan.crops))
        if run.step % NOTE_EVERY == 0:
            left = (time.monotonic() - began) / (run.step - first) * (plan.steps - run.step)
            tell(f"{run.step}/{plan.steps}, loss {total / NOTE_EVERY:.4f}, {left / 60:.0f} minutes left")
            total = 0.0
        if run.step % CHECK_EVERY == 0 or run.step == plan.steps:
            run.curve.append({"step": run.step, **check(run, checks)})
            save(run, out)
            tell(", ".join(f"{key} {value}" for key, value in run.curve[-1].items()))
    return report_of(run.state())


def report_of(state: dict[str, Any]) -> dict[str, Any]:
    """What is worth knowing of a checkpoint, in plain values."""
    parameters = sum(value.numel() for value in state["mean"].values())
    return {**state["about"], "parameters": parameters, "shape": state["shape"], "curve": state["curve"]}


def check(run: Run, examples: list[Example]) -> dict[str, float]:
    """Mean gains of the running mean's weights over what the net corrects: PSNR in dB and SSIM, without and with
    loss of packets."""
    net = Net(run.net.shape)
    net.load_state_dict(run.mean)
    gains: dict[str, list[float]] = {}
    for e in examples:
        base, target = (to_cells(p, e.side).astype(np.float32) for p in (e.base, e.target))
        shown = np.clip(base + apply(net, e.seen), 0, 255)
        before, after = (float(np.mean((p - target) ** 2)) for p in (base, shown))
        if min(before, after) > 0:
            gains.setdefault(f"{e.kind}_db", []).append(10 * math.log10(before / after))
        likeness = [ssim(*(_planes(p, e.side) for p in (picture, target))) for picture in (shown, base)]
        gains.setdefault(f"{e.kind}_ssim", []).append(float(likeness[0] - likeness[1]))
    return {name: round(float(np.mean(values)), 4) for name, values in gains.items()}


def _start(path: Path, part: str) -> State:
    """Weights for a net of a part to start from. Raises InputError when those of `path` see something else."""
    if path.suffix == ".tflite":
        told = named(path.name)
        own = told[1] if told else ""
    else:
        own = str(load(path)["about"]["part"])
    if own not in LAYOUTS:
        raise InputError(f"{path}: must be a checkpoint, or have a name such as small-luma-7efd-r4.tflite")
    theirs, ours, weights = LAYOUTS[own], LAYOUTS[part], weights_of(path)
    if (theirs.cell, theirs.squares, theirs.blocks) != (ours.cell, ours.squares, ours.blocks):
        raise InputError(f"{path}: a net of {own} has other cells than one of {part}")
    inputs = weights["enter.weight"].shape[1] // 9
    if inputs != theirs.channels:
        raise InputError(f"{path}: has {inputs} inputs where a net of {own} has {theirs.channels} today")
    return weights


def weights_of(path: Path) -> dict[str, Tensor]:
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
        raise InputError(f"{path}: not a net of this project ({e})") from None
    tensors = {tensor["index"]: tensor for tensor in net.get_tensor_details()}
    widened = {int(o["outputs"][0]): int(o["inputs"][0]) for o in operations if o["op_name"] == "DEQUANTIZE"}
    weights: dict[str, Tensor] = {}
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


def _planes(cells: np.ndarray | Tensor, side: int) -> Tensor:
    """Cells (..., planes * side * side, rows, columns) as pictures (planes, 1, height, width)."""
    t = torch.as_tensor(cells)
    t = t.reshape(-1, side * side, *t.shape[-2:])
    return F.pixel_shuffle(t, side)


@torch.no_grad()
def apply(net: Net, seen: np.ndarray) -> np.ndarray:
    """Output of a net, float32 (outputs, rows, columns), of features (rows, columns, inputs)."""
    x = torch.from_numpy(seen.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.autocast("cpu", torch.bfloat16):
        return net(x.contiguous(memory_format=torch.channels_last))[0].numpy()


def save(run: Run, path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(run.state(), part)
    os.replace(part, path)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint. Raises InputError."""
    try:
        state = torch.load(path, weights_only=True)
        if not (isinstance(state, dict) and {"about", "shape", "mean"} <= set(state)):
            raise ValueError("something else")
        return state
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as e:
        raise InputError(f"{path}: not a checkpoint of this command ({str(e).splitlines()[0]})") from None


def mean_of(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint with the mean of the weights of several of one shape: where a run began and where it ended, say.

    All else is the last one's, the curve as well: that of the mean is not known. Raises InputError when shapes differ.
    """
    *_, last = states
    if any((s["shape"], s["about"]["part"]) != (last["shape"], last["about"]["part"]) for s in states):
        raise InputError("the mean of weights needs checkpoints of one part and one shape")
    mean = {name: sum(s["mean"][name] for s in states) / len(states) for name in last["mean"]}
    about = {**last["about"], "mean_of_steps": [s["step"] for s in states]}
    return {**last, "about": about, "mean": mean}


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
