"""`onboard-train enhance`: the neural decoders of the ground, from pictures that were coded, sent and partly lost.

A run that was stopped goes on where its checkpoint stands. The same seed makes the same weights on the same CPU, as
long as the run is not interrupted; a GPU adds up in an order of its own.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from onboard.errors import InputError
from onboard.ground.nets import GUIDE, digest, unavailable
from onboard.model import Model
from training.checkpoints import State, load, report_of, save, start_weights
from training.examples import PARTS, Example, pictures_of, validation
from training.losses import FEATURE_WEIGHT, SSIM_WEIGHT, Features, ssim
from training.nets import Net, Shape
from training.pictures import find, readable
from training.pool import Batch, Pool
from training.processor import Processor

EMA = 0.999
WARM_UP = 100  # steps
RATE = 5e-3  # of Muon for the trunk's matrices
ADAM = 0.2  # of that, for the rest
DECAY = 0.01
NOTE_EVERY, CHECK_EVERY = 100, 1000  # steps
SAVE_EVERY = 300  # seconds
SIZES = {  # width, layers
    ("small", "luma"): (96, 8),
    ("small", "layered"): (96, 8),
    ("small", "doubled"): (96, 8),
    ("small", "chroma"): (96, 6),
    ("perceptual", "luma"): (96, 8),
}
SEEDS = 1 << 32
HYBRID = ("perceptual",)  # nets for looks; all others are for fidelity


@dataclass(frozen=True)
class Plan:
    """How long and how a net is trained. Raises InputError for what is out of range.

    Attributes:
        rate: None for RATE, or for that of the checkpoint from which a run goes on.
    """

    steps: int
    crops: int
    seed: int
    threads: int
    rate: float | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "crops", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: must be at least 1")
        if not 0 <= self.seed < SEEDS:
            raise InputError(f"--seed {self.seed}: must be from 0 to {SEEDS - 1}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise InputError(f"--rate {self.rate}: must be above 0, such as {RATE}")


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
            try:
                self.net.grow_from(start)
            except ValueError as e:
                raise InputError(f"{', '.join(about['start'])}: {e}") from None
        self.net.to(self.processor.device)
        self.mean = {name: value.clone() for name, value in self.net.state_dict().items()}
        trunk = {name: p for name, p in self.net.named_parameters() if name.startswith("body") and p.ndim == 2}
        rest = [p for name, p in self.net.named_parameters() if name not in trunk]
        muon, adam = self._rates(RATE if plan.rate is None else plan.rate)
        self.optimisers: list[Any] = [
            torch.optim.Muon(trunk.values(), lr=muon, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=adam, weight_decay=DECAY, betas=(0.9, 0.98)),
        ]
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(o, self._share) for o in self.optimisers]
        self.step = 0
        self.curve: list[dict[str, float]] = []

    @staticmethod
    def _rates(rate: float) -> tuple[float, float]:
        """Of the two optimisers."""
        return rate, ADAM * rate

    def _share(self, step: int) -> float:
        """What a step uses of these rates."""
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
        """Go on where a checkpoint stands, whose `about` stays true.

        At its rate, unless the plan has one of its own; either falls towards the end of this plan.
        """
        self.net.load_state_dict(state["net"])
        kept = [*state["optimisers"], *state["schedules"]]
        for own, old in zip([*self.optimisers, *self.schedules], kept, strict=True):
            own.load_state_dict(old)
        self.mean = {name: value.to(self.processor.device) for name, value in state["mean"].items()}
        self.about, self.step, self.curve = state["about"], state["step"], state["curve"]
        if self.plan.rate is not None:
            for schedule, rate in zip(self.schedules, self._rates(self.plan.rate), strict=True):
                schedule.base_lrs = [rate]
        for optimiser, schedule in zip(self.optimisers, self.schedules, strict=True):
            (group,), (rate,) = optimiser.param_groups, schedule.base_lrs
            group["lr"] = rate * self._share(self.step)

    def is_finite(self) -> bool:
        """Whether all weights are numbers still. Waits for the device."""
        return all(bool(value.isfinite().all()) for value in self.mean.values())


def train_part(
    folders: list[Path],
    model: Model,
    name: str,
    part_name: str,
    plan: Plan,
    out: Path,
    start: Sequence[Path],
    tell: Callable[[str], None],
    nets: Path | None = None,
) -> dict[str, Any]:
    """Train one part of a net until its plan is fulfilled, from `out` on if that exists; returns its report.

    Args:
        nets: folder in which chroma's luma net is looked for before the shipped ones.

    Raises InputError, and KeyboardInterrupt after all that has been learnt was saved.
    """
    if (name, part_name) not in SIZES:
        raise InputError(f"there is no {name} net of {part_name}, only {', '.join(' '.join(size) for size in SIZES)}")
    part, (width, layers) = replace(PARTS[part_name], nets=nets), SIZES[name, part_name]
    model_name = f"{model.model_id:04x}"
    about = {
        "net": name,
        "part": part_name,
        "model": model_name,
        "folders": [p.resolve().name for p in folders],
        "loss": "hybrid" if name in HYBRID else "mse",
        "crops": plan.crops,
        "seed": plan.seed,
        "start": [path.name for path in start],
    }
    if not part.grey:
        if (why := unavailable(*GUIDE, model.model_id, nets)) is not None:
            raise InputError(
                f"chroma goes by the luma that a net has made, and there is none: {why}; train --part {GUIDE[1]}, "
                "write it to a folder with `onboard-train export-nets` and give that with --nets"
            )
        about["luma"] = digest(*GUIDE, model.model_id, nets)
    shape = Shape(part.layout.channels, part.outputs, width, layers)
    run = Run(shape, plan, about, [start_weights(path, part_name, model_name) for path in start])
    if out.exists():
        state = load(out)
        another = any(state["about"][key] != about[key] for key in ("net", "part", "model"))
        if another or state["shape"] != asdict(shape):
            raise InputError(f"{out}: holds another net than the one to be trained; give another --out")
        run.resume(state)
        changed = [
            key for key in ("folders", "crops", "seed", "start", "luma") if state["about"].get(key) != about.get(key)
        ]
        if changed:
            tell(
                f"{out}: goes on with other {', '.join(changed)} than it began with; its report tells of the beginning"
            )
    if run.step >= plan.steps:
        tell(f"{out}: has learnt for {run.step} steps already; give more --steps to go on")
        return report_of(run.state())
    pictures, unseen = pictures_of(readable(find(folders)), part)
    checks = validation(unseen, model, part)
    tell(f"on {run.processor}")
    with Pool(pictures, model, part, plan.seed + run.step) as pool:
        _learn(run, pool, checks, out, tell)
    return report_of(run.state())


def _learn(run: Run, pool: Pool, checks: list[Example], out: Path, tell: Callable[[str], None]) -> None:
    """Fulfil the plan, with checks and checkpoints on the way. Raises InputError when the run diverges."""
    losses: list[Tensor] = []
    began = saved = time.monotonic()
    first, steps = run.step, run.plan.steps
    with _interrupts_held() as interrupted:
        while run.step < steps:
            losses.append(run.learn(pool.batch(run.plan.crops)))
            note, checked = run.step % NOTE_EVERY == 0, run.step % CHECK_EVERY == 0 or run.step == steps
            due = checked or interrupted.is_set() or time.monotonic() > saved + SAVE_EVERY
            if not (note or due):
                continue  # to read a loss would be to wait for the device
            loss = float(torch.stack(losses).mean())
            if not (math.isfinite(loss) and run.is_finite()):
                raise InputError(f"the loss is no longer finite at step {run.step}: lower --rate")
            losses.clear()
            if note:
                left = (time.monotonic() - began) / (run.step - first) * (steps - run.step)
                tell(f"{run.step}/{steps}, loss {loss:.4f}, {left / 60:.0f} minutes left")
            if checked:
                run.curve.append({"step": run.step, **check(run, checks)})
                tell(", ".join(f"{key} {value}" for key, value in run.curve[-1].items()))
            stop = interrupted.is_set()
            if due or stop:
                save(run.state(), out)
                saved = time.monotonic()
            if stop:
                tell(f"{out}: saved at step {run.step}")
                raise KeyboardInterrupt


@contextmanager
def _interrupts_held() -> Iterator[threading.Event]:
    """Whether there was an interrupt, which does not fall into a step then; a second one does."""
    came = threading.Event()

    def hold(*_: object) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    if threading.current_thread() is not threading.main_thread():  # only that one may, and is, interrupted
        yield came
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


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
