"""Examples for the neural decoders: pictures coded, sent, partly lost and decoded, exactly as users do it.

Nothing is kept on disk: a pool of decoded examples is renewed while the training runs. The same seed gives the same
crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from onboard.decoder import Decoding
from onboard.encoder import Effort, analyse_picture
from onboard.errors import InputError
from onboard.ground.features import (
    LAYOUTS,
    Layout,
    base_features,
    chroma_features,
    features,
    layered_features,
)
from onboard.ground.nets import unavailable
from onboard.ground.neural import decode_luma
from onboard.job import Job
from onboard.layers import spread_blocks
from onboard.model import Model
from onboard.planes import COLOUR, enlarge
from onboard.scan import scan
from onboard.shot import single_shot
from onboard.wire import MAX_PACKET, Colour
from training.pictures import describe, load, luma
from training.synthetic import coloured, drawing

CROP = 40  # cells a side
POOL = 64
DRAWINGS = 0.06  # share of made-up pictures: text, line art, flat areas, noise
SHRUNK, SMALLEST = 0.5, 0.5  # share of pictures made smaller first, and how small: the same things, smaller and sharper
RELIT = 0.3  # share of pictures with another contrast and brightness
RECOLOURED, UNRELATED = 0.4, 0.15  # share of colour pictures with other colours, and of those with unrelated channels
LOSSY = 0.4
INDICES = (40, 150, 200)  # least, likeliest, most; previews take the upper half
STEPS = (16, 72, 128)  # the same of layer 2
PACKET_SIZES = (100, 400)
LUMA, LUMA_PART = "small", "luma"  # the net whose pictures chroma goes by
LEAST_ERROR = 1.0  # squared levels: nearly perfect examples do not outweigh all others
VALIDATION_INDICES = (96, 128, 160, 184)
VALIDATION_STEPS = (32, 48, 64, 80, 96)
VALIDATION_SIDE = 512


@dataclass(frozen=True)
class Part:
    """Which planes a net makes, of what.

    Attributes:
        layout: of its features.
        side: pixels a side of what a cell becomes.
        planes: how many planes it makes.
        scale_log2, colour: how its pictures are coded.
        refined: whether its streams are made in one go with layer 2.
        most: pixels a side of an example, at most.
        indices: least, likeliest and most quantiser index of an example.
    """

    layout: Layout
    side: int
    planes: int
    scale_log2: int
    colour: Colour
    refined: bool = False
    most: int = 1024
    indices: tuple[int, int, int] = INDICES

    @property
    def grey(self) -> bool:
        """Whether its pictures have luma only."""
        return self.colour == Colour.GREY

    @property
    def outputs(self) -> int:
        """Channels of what its net makes of a cell."""
        return self.planes * self.side**2

    @property
    def crop(self) -> int:
        """Pixels a side of a crop."""
        return CROP * self.side


PARTS = {
    "luma": Part(LAYOUTS["luma"], 4, 1, 0, Colour.GREY),
    "layered": Part(LAYOUTS["layered"], 4, 1, 0, Colour.GREY, refined=True),
    "doubled": Part(LAYOUTS["doubled"], 4, 1, 1, Colour.GREY),
    # luma's net has to see these examples, too; and colour is finer than luma at any index
    "chroma": Part(LAYOUTS["chroma"], 8, 2, 0, Colour.YCBCR420, most=640, indices=(5, 130, 200)),
}


@dataclass(frozen=True)
class Loss:
    """How packets are lost."""

    probability: float
    burst: float
    packet_size: int
    interleave_log2: int


NO_LOSS = Loss(0.0, 1.0, MAX_PACKET, 0)


@dataclass(frozen=True)
class Example:
    """Decoded planes beside the truth.

    Attributes:
        seen: float16 (rows, columns, inputs) of cells, see onboard.ground.features.
        base: uint8 (planes, side * rows, side * columns), what the net corrects.
        target: uint8, the same shape.
        weight: one over the error of the whole example: one at a low rate is not worth more than one at a high rate.
        side: pixels a side of what a cell becomes.
        kind: "whole", "lossy" where packets may have been lost, "layered" with layer 2.
    """

    seen: np.ndarray
    base: np.ndarray
    target: np.ndarray
    weight: float
    side: int
    kind: str


@dataclass(frozen=True)
class Batch:
    """Crops on the grid of cells: seen float32 (n, inputs, rows, columns), base and target float32 (n, outputs, rows,
    columns), weight float32 (n,)."""

    seen: np.ndarray
    base: np.ndarray
    target: np.ndarray
    weight: np.ndarray


def to_cells(planes: np.ndarray, side: int) -> np.ndarray:
    """Planes of whole cells (planes, height, width) as (planes * side * side, rows, columns)."""
    n, height, width = planes.shape
    rows, columns = height // side, width // side
    cells = planes.reshape(n, rows, side, columns, side).transpose(0, 2, 4, 1, 3)
    return cells.reshape(n * side * side, rows, columns)


def pictures_of(paths: Sequence[Path], part: Part) -> list[np.ndarray]:
    """Every picture at least half as large as a crop: its 8-bit luma, or for the chroma net itself where it has 8 bits
    and colour."""
    found = []
    for picture in load(paths, "pictures"):
        if part.grey:
            found.append(luma(picture))
        elif picture.ndim == 3 and picture.dtype == np.uint8:
            found.append(picture)
    return [p for p in found if 2 * min(p.shape[:2]) >= part.crop]


def make(
    picture: np.ndarray,
    model: Model,
    part: Part,
    index: int,
    effort: Effort,
    loss: Loss,
    seed: int,
    step: int | None = None,
) -> Example:
    """Code a picture, lose packets, decode without nets.

    Args:
        index, effort: of a base alone. step: instead of these, of layer 2, for a stream made in one go.
    """
    side = part.layout.across * part.side
    height, width = (n // side * side for n in picture.shape[:2])
    picture = np.ascontiguousarray(picture[:height, :width])
    description = replace(
        describe(picture, part.colour, part.scale_log2), interleave_log2=loss.interleave_log2, model_id=model.model_id
    )
    if step is None:
        encoding = analyse_picture(picture, description, model, index, effort)
        stream = encoding.packets(index, packet_size=loss.packet_size, effort=effort, tag=0)
    else:
        stream = single_shot(Job(picture, description, model, loss.packet_size, (), 0), step)
    decoding = Decoding(description, model)
    gone = np.zeros(len(stream), bool) if loss is NO_LOSS else lost(len(stream), loss, np.random.default_rng(seed))
    for packet, missing in zip(stream, gone, strict=True):
        if not missing:
            decoding.add(scan(packet)[0])
    latents = decoding.latents()
    known = [features(state, own) for state, own in zip(decoding.planes, latents, strict=True)]
    plain, target = decoding.plain(latents), picture[None]
    if not part.grey:
        seen = chroma_features(part.layout, decode_luma(decoding, LUMA), plain[1:], known)
        base, target = [enlarge(plane, description, 1) for plane in plain[1:]], _chroma(picture)
    elif part.refined:
        (over, *_), (reached, *_) = decoding.refined()
        base = [np.where(spread_blocks(reached > 0, over.shape), over, plain[0])]
        seen = layered_features(part.layout, base[0], known[0], decoding.layers.foretold_steps(0, reached))
    else:
        seen = base_features(part.layout, plain[0], known[0])
        base = [enlarge(plain[0], description, part.scale_log2)]
    error = float(np.mean((np.stack(base).astype(np.float32) - target) ** 2))
    kind = "lossy" if loss is not NO_LOSS else "whole" if step is None else "layered"
    return Example(seen.astype(np.float16), np.stack(base), target, 1 / (error + LEAST_ERROR), part.side, kind)


def lost(count: int, loss: Loss, rng: np.random.Generator) -> np.ndarray:
    """Gilbert-Elliott losses of a mean burst length: bool (count,)."""
    out = np.empty(count, bool)
    leave = 1 / loss.burst
    enter = leave * loss.probability / (1 - loss.probability)
    bad = rng.random() < loss.probability
    for i, draw in enumerate(rng.random(count)):
        out[i] = bad
        bad = draw >= leave if bad else draw < enter
    return out


def validation(pictures: list[np.ndarray], model: Model, part: Part) -> list[Example]:
    """Whole examples that no training sees: every picture at some indices and steps, and with a fifth of its packets
    lost."""
    effort, some = Effort(model.threshold, model.price), Loss(0.2, 1.0, 200, 0)
    most = VALIDATION_SIDE << part.scale_log2
    cases: list[tuple[int, Loss, int | None]]
    if part.refined:
        cases = [(0, NO_LOSS, step) for step in VALIDATION_STEPS]
        cases.append((0, some, VALIDATION_STEPS[3]))
    else:
        cases = [(index, NO_LOSS, None) for index in VALIDATION_INDICES]
        cases.append((VALIDATION_INDICES[1], some, None))
    return [
        make(p[:most, :most], model, part, index, effort, loss, 1, step)
        for p in pictures
        for index, loss, step in cases
    ]


class Pool:
    """Decoded examples, one renewed at every batch."""

    def __init__(self, pictures: list[np.ndarray], model: Model, part: Part, seed: int) -> None:
        """Raises InputError when what the examples need is missing."""
        if not part.grey and (why := unavailable(LUMA, LUMA_PART, model.model_id)) is not None:
            raise InputError(f"chroma goes by the luma that a net has made, and there is none: {why}")
        self._pictures, self._model, self._part = pictures, model, part
        areas = np.array([min(p.shape[0] * p.shape[1], 4 * part.most**2) for p in pictures], float)
        self._share = areas / areas.sum()
        self._rng = np.random.default_rng(seed)
        self._pool = [self._fresh() for _ in range(POOL)]
        self._next = 0

    def batch(self, crops: int) -> Batch:
        """Random crops, after one example of the pool was renewed."""
        self._pool[self._next] = self._fresh()
        self._next = (self._next + 1) % POOL
        part, side, across = self._part, self._part.side, self._part.layout.across
        areas = np.array([e.base.size for e in self._pool], float)
        seen = np.empty((crops, part.layout.channels, CROP, CROP), np.float32)
        base = np.empty((crops, part.outputs, CROP, CROP), np.float32)
        target, weight = np.empty_like(base), np.empty(crops, np.float32)
        for i, which in enumerate(self._rng.choice(POOL, crops, p=areas / areas.sum())):
            e = self._pool[which]
            y, x = (across * int(self._rng.integers((n - CROP) // across + 1)) for n in e.seen.shape[:2])
            seen[i] = e.seen[y : y + CROP, x : x + CROP].transpose(2, 0, 1)
            area = np.s_[:, side * y : side * (y + CROP), side * x : side * (x + CROP)]
            base[i], target[i], weight[i] = to_cells(e.base[area], side), to_cells(e.target[area], side), e.weight
        return Batch(seen, base, target, weight)

    def _fresh(self) -> Example:
        rng, model, part = self._rng, self._model, self._part
        picture = self._picture()
        if rng.random() < RELIT:
            gain, shift = rng.uniform(0.6, 1.2), rng.uniform(-30, 30)
            picture = np.clip((picture - 128.0) * gain + 128.0 + shift, 0, 255).astype(np.uint8)
        if not part.grey and rng.random() < RECOLOURED:
            picture = _recoloured(picture, rng)
        price = model.price
        if rng.random() < 0.4:  # what the search for a budget may do
            price = int(price * 2 ** rng.uniform(-2, 1.5))
        loss = NO_LOSS
        if rng.random() < LOSSY:
            burst = 1.0 if rng.random() < 0.6 else float(rng.uniform(1, 6))
            size = int(rng.integers(*PACKET_SIZES))
            loss = Loss(float(rng.uniform(0.02, 0.45)), burst, size, int(rng.integers(3)))
        index = round(rng.triangular(*part.indices))
        step = round(rng.triangular(*STEPS)) if part.refined else None
        effort = Effort(model.threshold, price)
        return make(picture, model, part, index, effort, loss, int(rng.integers(1 << 31)), step)

    def _picture(self) -> np.ndarray:
        """A piece of a picture in one of the eight symmetries of the square, or a drawing."""
        rng, least, most = self._rng, self._part.crop, self._part.most
        if rng.random() < DRAWINGS:
            return (drawing if self._part.grey else coloured)(rng, max(most // 2, least))
        picture = self._pictures[int(rng.choice(len(self._pictures), p=self._share))]
        smallest = min(max(SMALLEST, least / (2 * min(picture.shape[:2]))), 1.0)
        factor = rng.uniform(smallest, 1) if rng.random() < SHRUNK else 1.0
        picture = _shrunk(_piece(picture, rng, round(most / factor)), factor)
        missing = [max(least - n, 0) for n in picture.shape[:2]]
        picture = np.pad(picture, [(0, n) for n in missing] + [(0, 0)] * (picture.ndim - 2), "symmetric")
        picture = np.rot90(picture, int(rng.integers(4)))
        return np.ascontiguousarray(picture.swapaxes(0, 1) if rng.random() < 0.5 else picture)


def _piece(picture: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """A random part of at most side x side."""
    y, x = (int(rng.integers(max(n - side, 0) + 1)) for n in picture.shape[:2])
    return picture[y : y + side, x : x + side]


def _shrunk(picture: np.ndarray, factor: float) -> np.ndarray:
    """A picture, uint8, at `factor` (above 0, to 1) of its size."""
    height, width = (max(round(factor * n), 1) for n in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def _recoloured(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour picture, uint8 (height, width, 3), with its channels exchanged and its colours paler or stronger; once
    in a while with channels that have nothing to do with each other."""
    other = picture[..., rng.permutation(3)]
    if rng.random() < UNRELATED:
        other = np.stack([other[..., 0], other[::-1, :, 1], other[:, ::-1, 2]], -1)
    grey = other.mean(-1, keepdims=True)
    return np.clip(np.rint(grey + rng.uniform(0.4, 2.5) * (other - grey)), 0, 255).astype(np.uint8)


def _chroma(picture: np.ndarray) -> np.ndarray:
    """Cb and Cr at full size, uint8 (2, height, width)."""
    mixed = picture.astype(np.int32) @ COLOUR[1:, :3].T + COLOUR[1:, 3]
    return np.moveaxis(mixed >> 16, -1, 0).astype(np.uint8)
