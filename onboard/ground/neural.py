"""The neural decoders (display only): what they add to a picture made without them, run by LiteRT tile by tile.

A net sees what has arrived of a picture, and its plain luma, on a grid of cells (features.py), and is made of 3x3
convolutions only. So a tile with enough blocks around it gives the very values that the whole plane would give, and
what a net takes in memory does not grow with the picture.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from onboard.decoder import Decoding, PlaneLatents
from onboard.errors import ModelError
from onboard.ground.features import (
    Part,
    base_features,
    chroma_features,
    features,
    layered_features,
    pixels,
)
from onboard.ground.linear import Neighbours, decode_blocks, decode_linear
from onboard.ground.mirrors import mean_of_mirrors, parities
from onboard.ground.refined import Refined
from onboard.layers import NO_STEP, spread_blocks
from onboard.planes import enlarge, shape_at
from onboard.wire import BLOCK, Description

NETS = ("small", "large", "perceptual")  # what another net has no part for, it leaves to the small one
MIRRORED = {"large": "small"}  # the mean over four mirror images, in four times the time, of what another net makes
# luma as coded, with layer 2, and coded at half its size or less; Cb and Cr
PARTS = ("luma", "layered", "doubled", "chroma")
ARTEFACT = "{net}-{part}-{model}-r{radius}.tflite"  # the radius is that of the net's view, in blocks
FINEST_STEP = 52  # index into LAYER_STEPS; what is finer shows as it is
TILE = 96  # blocks a side that one run of a net yields

_LOCK = threading.Lock()  # nets are kept, and LiteRT's interpreters serve one thread

# (tiles done, tiles in all)
Progress = Callable[[int, int], None]


@dataclass(eq=False)
class Net:
    """A net ready to run.

    Attributes:
        interpreter: LiteRT's; float32 (1, rows, columns, inputs) to float32 (1, rows, columns, outputs), the levels
            that the plain reconstruction lacks.
        radius: blocks around a block that its pixels depend on.
    """

    interpreter: Any
    radius: int
    _shape: tuple[int, ...] = ()  # that memory has been allocated for

    def run(self, seen: np.ndarray) -> np.ndarray:
        """float32 (rows, columns, outputs) of features float32 (rows, columns, inputs). One thread at a time."""
        with _LOCK:
            (given,), (made,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
            if self._shape != seen.shape:
                self._shape = ()
                with _hushed():
                    self.interpreter.resize_tensor_input(given["index"], [1, *seen.shape])
                    self.interpreter.allocate_tensors()
                self._shape = seen.shape
            self.interpreter.set_tensor(given["index"], np.ascontiguousarray(seen[None]))
            self.interpreter.invoke()
            return np.asarray(self.interpreter.get_tensor(made["index"])[0])


def stand_ins(name: str) -> list[str]:
    """A net, and what stands in for it where it has no part."""
    return list(dict.fromkeys((name, NETS[0])))


def unavailable(name: str, part: str, model_id: int) -> str | None:
    """Why a net cannot make a luma_part(), in words; None when it can."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return "LiteRT is not installed: pip install 'onboard-compress[ground]'"
    if _path(name, part, model_id) is None:
        return f"no {name} net of {part} luma for model {model_id:04x}"
    return None


def luma_part(decoding: Decoding, refined: Refined | None) -> str:
    """Which part of the nets makes the luma of a picture."""
    if decoding.description.scale_log2:
        return "doubled"
    if refined and luma_has_layers(decoding.description):
        made_in_one_go = decoding.layers.foretold_steps(0, refined[1][0]) != NO_STEP
        return "layered" if made_in_one_go.any() else "luma"
    return "luma"


def luma_has_layers(description: Description) -> bool:
    """Whether decode_neural() brings the higher layers into the luma by itself: of pictures of 8 bits at scale 1."""
    return description.scale_log2 == 0 and description.window is None


def decode_neural(
    decoding: Decoding,
    name: str,
    neighbours: Neighbours | None,
    refined: Refined | None = None,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Every plane at full size, uint8 (height, width), by the nets called `name`; see unavailable().

    Luma is corrected from the plain picture on, chroma from the linear decoder's. Chroma without a net for it (see
    stand_ins), or of a picture at scale 2 and more, is the linear decoder's alone; without matrices it is plain.

    Blocks of layer 2 in streams made in one go, down to FINEST_STEP, are improved as well where luma_has_layers();
    all other blocks with higher layers stay as these have them.
    """
    d = decoding.description
    seen = _Seen.of(decoding)
    own = luma_part(decoding, refined)
    net = _net(name, own, d.model_id)
    run = partial(mean_of_mirrors, net.run, parities(decoding.model)) if name in MIRRORED else net.run
    jobs = [_luma_job(seen, own, run, net.radius, refined if luma_has_layers(d) else None)]
    colour = len(seen.latents) > 1
    painter = next((n for n in stand_ins(name) if _path(n, "chroma", d.model_id) is not None), None)
    if colour and neighbours is not None and d.scale_log2 == 0 and painter is not None:
        jobs.append(_chroma_job(seen, _net(painter, "chroma", d.model_id), neighbours, jobs[0].still))
    total = sum(len(_tiles(*job.still.shape)) for job in jobs)
    done = 0
    planes: list[np.ndarray] = []
    for job in jobs:
        height, width = shape_at(d, job.shown_log2)
        for area, corrections in _corrections(job):
            done += 1
            for plane, correction in zip(job.shown, corrections, strict=True):
                part = plane[area]
                np.copyto(part, np.clip(np.rint(part + correction), 0, 255), casting="unsafe")
            if progress is not None:
                progress(done, total)
        planes += [enlarge(plane[:height, :width], d, job.shown_log2) for plane in job.shown]
    if colour and len(jobs) == 1:
        planes += decoding.plain_full()[1:] if neighbours is None else decode_linear(decoding, neighbours, 1)
    return planes


# outputs of features, float32 (rows, columns, channels) of cells both
Run = Callable[[np.ndarray], np.ndarray]
# features of a part, in blocks
View = Callable[[Part], np.ndarray]


@dataclass(frozen=True)
class _Job:
    """Planes that a net makes together: how it runs, how many blocks around a block it looks at, what it sees, which
    blocks stay as they are (bool, rows x columns), and what it corrects in place, whole blocks at a scale of
    1 << shown_log2."""

    run: Run
    radius: int
    view: View
    still: np.ndarray
    shown: list[np.ndarray]
    shown_log2: int


@dataclass(frozen=True)
class _Seen:
    """What is there to go by: latents, what is known of their blocks (features), and the plain planes, whole blocks."""

    decoding: Decoding
    latents: list[PlaneLatents]
    known: list[np.ndarray]
    plain: list[np.ndarray]

    @classmethod
    def of(cls, decoding: Decoding) -> _Seen:
        latents = decoding.latents()
        known = [features(state, own) for state, own in zip(decoding.planes, latents, strict=True)]
        plain = [_whole(p, own.shape[:2], BLOCK) for p, own in zip(decoding.plain(latents), known, strict=True)]
        return cls(decoding, latents, known, plain)

    def busy(self, plane: int) -> np.ndarray:
        """Blocks (bool) that more than a first latent describes."""
        p = self.latents[plane]
        return p.group.reshape(p.rows, p.columns) > 0


def _luma_job(seen: _Seen, own: str, run: Run, radius: int, refined: Refined | None) -> _Job:
    d, plain, known, busy = seen.decoding.description, seen.plain[0], seen.known[0], seen.busy(0)
    if d.scale_log2:
        shown_log2, (rows, columns) = d.scale_log2 - 1, shape_at(d, d.scale_log2)
        shown = _whole(enlarge(plain[:rows, :columns], d, d.scale_log2, shown_log2), busy.shape, 2 * BLOCK)
        still = _featureless(seen.latents[0], busy)
    else:
        steps, changed, kept = _with_layers(seen.decoding, plain, refined)
        shown_log2, shown = 0, plain.copy()
        still = _featureless(seen.latents[0], busy | changed) | kept

    def view(part: Part) -> np.ndarray:
        around = plain[pixels(part, BLOCK)], known[part]
        return layered_features(*around, steps[part]) if own == "layered" else base_features(*around)

    return _Job(run, radius, view, still, [shown], shown_log2)


def _chroma_job(seen: _Seen, net: Net, neighbours: Neighbours, luma_still: np.ndarray) -> _Job:
    still = [_featureless(seen.latents[i], seen.busy(i)) for i in (1, 2)]
    all_still = still[0] & still[1] & _halved(luma_still, still[0].shape)
    both = [decode_blocks(seen.decoding, neighbours, i, seen.latents[i]) for i in (1, 2)]
    return _Job(net.run, net.radius, chroma_features(seen.known).__getitem__, all_still, both, 0)


def _with_layers(
    decoding: Decoding, plain: np.ndarray, refined: Refined | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring the higher layers into `plain`, whole blocks of luma: of every block the step of layer 2 where it was made
    in one go, whether (bool) they changed it, and whether it stays as they have it."""
    grid = plain.shape[0] // BLOCK, plain.shape[1] // BLOCK
    over, reached = (refined[0][0], refined[1][0]) if refined else (plain, np.zeros(grid, np.uint8))
    steps = decoding.layers.foretold_steps(0, reached)
    kept = (reached > 0) & ((steps < FINEST_STEP) | (steps == NO_STEP))
    changed = np.zeros(grid, bool)
    for top in range(0, grid[0], TILE):  # whole planes more would be dear
        some = slice(top, min(top + TILE, grid[0])), slice(0, grid[1])
        under, better = plain[pixels(some, BLOCK)], _whole(over[pixels(some, BLOCK)], reached[some].shape, BLOCK)
        differs = (under != better) & spread_blocks(reached[some] > 0, under.shape)
        changed[some] = differs.reshape(-1, BLOCK, grid[1], BLOCK).any((1, 3))
        np.copyto(under, better, where=differs)
    return steps, changed, kept


def _featureless(latents: PlaneLatents, busy: np.ndarray) -> np.ndarray:
    """Blocks around which, two blocks far, everything is one flat tone, so that there is nothing to go by: bool grid.

    A net would still move the tone a little, by what training pictures have in the mean; drawings are better off
    without.
    """
    first = latents.first.reshape(latents.rows, latents.columns)
    around = sliding_window_view(np.pad(first, 2, mode="edge"), (5, 5))
    return (around.min((2, 3)) == around.max((2, 3))) & ~sliding_window_view(np.pad(busy, 2), (5, 5)).any((2, 3))


def _halved(still: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of squares of 2x2 blocks, whether all that there are are still."""
    padded = np.pad(still, [(0, 2 * n - m) for n, m in zip(shape, still.shape, strict=True)], constant_values=True)
    return np.asarray(padded.reshape(shape[0], 2, shape[1], 2).all((1, 3)))


def _whole(plane: np.ndarray, grid: tuple[int, ...], side: int) -> np.ndarray:
    """A plane itself, or with its edges repeated up to whole blocks of side x side pixels."""
    missing = [(0, side * n - have) for n, have in zip(grid, plane.shape, strict=True)]
    return np.pad(plane, missing, mode="edge") if any(n for _, n in missing) else plane


def _corrections(job: _Job) -> Iterator[tuple[Part, np.ndarray]]:
    """(area in pixels, float32 (planes, height, width)) tile by tile, as if the net had seen everything at once."""
    rows, columns = job.still.shape
    radius, planes = job.radius, len(job.shown)
    for y, x in _tiles(rows, columns):
        top, left = max(y - radius, 0), max(x - radius, 0)
        bottom, right = min(y + TILE, rows), min(x + TILE, columns)
        part = slice(top, min(bottom + radius, rows)), slice(left, min(right + radius, columns))
        if job.still[y:bottom, x:right].all():
            yield pixels((slice(y, y), slice(x, x)), BLOCK), np.zeros((planes, 0, 0), np.float32)
            continue
        out = job.run(job.view(part))
        across = len(out) // (part[0].stop - part[0].start)  # cells a side of a block
        out = out[pixels((slice(y - top, bottom - top), slice(x - left, right - left)), across)]
        still = job.still[y:bottom, x:right].repeat(across, 0).repeat(across, 1)
        out = np.where(still[..., None], np.float32(0), out)
        side = round((out.shape[2] / planes) ** 0.5)
        levels = out.reshape(*out.shape[:2], planes, side, side).transpose(2, 0, 3, 1, 4)
        area = pixels((slice(y, bottom), slice(x, right)), across * side)
        yield area, levels.reshape(planes, side * out.shape[0], side * out.shape[1])


def _tiles(rows: int, columns: int) -> list[tuple[int, int]]:
    """Corners of the tiles, in blocks."""
    return [(y, x) for y in range(0, rows, TILE) for x in range(0, columns, TILE)]


def _path(name: str, part: str, model_id: int) -> tuple[Any, int] | None:
    """File and radius of a part of a net."""
    name = MIRRORED.get(name, name)
    pattern = re.escape(f"{name}-{part}-{model_id:04x}-r") + r"(\d+)\.tflite"
    for entry in (files("onboard.ground") / "models").iterdir():
        found = re.fullmatch(pattern, entry.name)
        if found:
            return entry, int(found[1])
    return None


@lru_cache(maxsize=2 * len(PARTS))
def _net(name: str, part: str, model_id: int) -> Net:
    from ai_edge_litert.interpreter import Interpreter

    found = _path(name, part, model_id)
    if found is None:
        raise ModelError(f"no {name} net of {part} for model {model_id:04x}: onboard-train enhance makes one")
    path, radius = found
    try:
        return Net(Interpreter(model_content=path.read_bytes(), num_threads=os.cpu_count() or 1), radius)
    except (ValueError, RuntimeError) as e:
        raise ModelError(f"{path.name}: not a LiteRT file ({e})") from None


@contextmanager
def _hushed() -> Iterator[None]:
    """No standard error: LiteRT announces there how it will run, and has no switch for that."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
