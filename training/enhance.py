"""`onboard-train enhance`: the neural decoders of the ground, from pictures that were coded, sent and partly lost.

A run that was stopped goes on where its checkpoint stands. The same seed makes the same weights on the same machine, as
long as the run is not interrupted.
"""

from __future__ import annotations

import math
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
from onboard.ground.nets import digest
from onboard.model import Model
from training.checkpoints import State, load, report_of, save, start_weights
from training.examples import LUMA, LUMA_PART, PARTS, Example, pictures_of, validation
from training.losses import FEATURE_WEIGHT, SSIM_WEIGHT, Features, ssim
from training.nets import Net, Shape
from training.pictures import find, split
from training.pool import Batch, Pool
from training.processor import Processor

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
    device: str = "auto"


class Run:
    """A training run: the net, the running mean of its weights, the optimisers and what has been reached so far."""

    def __init__(self, shape: Shape, plan: Plan, about: dict[str, Any], start: Sequence[State] = ()) -> None:
        torch.manual_seed(plan.seed)
        torch.set_num_threads(plan.threads)
        self.plan, self.about, self.processor = plan, about, Processor.choose(plan.device)
        self.looks = Features.load(self.processor) if about["loss"] == "hybrid" else None
        self.side = PARTS[about["part"]].side
        self.net = Net(shape)
        if start:
            self.net.grow_from(start)
        self.net.to(self.processor.device)
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

    def learn(self, batch: Batch) -> Tensor:
        """One step; returns the loss, which the device may still be working out."""
        arrays = batch.seen, batch.base, batch.target, batch.weight
        seen, base, target, weight = (torch.from_numpy(a).to(self.processor.device).float() for a in arrays)
        with self.processor.precision():
            made = self.net(seen.permute(0, 3, 1, 2))
        shown = base + F.pixel_shuffle(made, self.side)
        loss = (((shown - target) ** 2).mean((1, 2, 3)) * weight).mean()
        if self.looks is not None:
            pair = _one_by_one(shown), _one_by_one(target)
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
        return loss.detach()

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
        self.mean = {name: value.to(self.processor.device) for name, value in state["mean"].items()}
        self.step, self.curve = state["step"], state["curve"]


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
        run = Run(shape, plan, about, [start_weights(path, part_name) for path in start])
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
    checks = validation(unseen, model, part)
    tell(f"on {run.processor}")
    with Pool(pictures, model, part, plan.seed + run.step) as pool:
        _learn(run, pool, checks, out, tell)
    return report_of(run.state())


def _learn(run: Run, pool: Pool, checks: list[Example], out: Path, tell: Callable[[str], None]) -> None:
    """Fulfil the plan, with checks and checkpoints on the way."""
    losses: list[Tensor] = []
    began, first, steps = time.monotonic(), run.step, run.plan.steps
    while run.step < steps:
        losses.append(run.learn(pool.batch(run.plan.crops)))
        if run.step % NOTE_EVERY == 0:
            left = (time.monotonic() - began) / (run.step - first) * (steps - run.step)
            tell(f"{run.step}/{steps}, loss {torch.stack(losses).mean():.4f}, {left / 60:.0f} minutes left")
            losses.clear()
        if run.step % CHECK_EVERY == 0 or run.step == steps:
            run.curve.append({"step": run.step, **check(run, checks)})
            save(run.state(), out)
            tell(", ".join(f"{key} {value}" for key, value in run.curve[-1].items()))


def check(run: Run, examples: list[Example]) -> dict[str, float]:
    """Mean gains of the running mean's weights over what the net corrects: PSNR in dB and SSIM, without and with
    loss of packets."""
    net = Net(run.net.shape).to(run.processor.device)
    net.load_state_dict(run.mean)
    gains: dict[str, list[float]] = {}
    for e in examples:
        base, target = (torch.from_numpy(p).float() for p in (e.base, e.target))
        shown = (base + F.pixel_shuffle(apply(net, e.seen, run.processor), e.side)).clamp(0, 255)
        before, after = (float(((p - target) ** 2).mean()) for p in (base, shown))
        if min(before, after) > 0:
            gains.setdefault(f"{e.kind}_db", []).append(10 * math.log10(before / after))
        likeness = [float(ssim(_one_by_one(picture), _one_by_one(target))) for picture in (shown, base)]
        gains.setdefault(f"{e.kind}_ssim", []).append(likeness[0] - likeness[1])
    return {name: round(float(np.mean(values)), 4) for name, values in gains.items()}


def _one_by_one(planes: Tensor) -> Tensor:
    """Planes (..., height, width) as pictures (n, 1, height, width)."""
    return planes.reshape(-1, 1, *planes.shape[-2:])


@torch.no_grad()
def apply(net: Net, seen: np.ndarray, processor: Processor) -> Tensor:
    """Output of a net, float32 (outputs, rows, columns), of features (rows, columns, inputs)."""
    x = torch.from_numpy(seen).to(processor.device).float().permute(2, 0, 1)[None]
    with processor.precision():
        return net(x)[0].cpu()
