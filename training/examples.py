"""Examples for the neural decoders: pictures coded, sent, partly lost and decoded, exactly as users do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

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
from onboard.ground.nets import GUIDE
from onboard.ground.neural import decode_luma
from onboard.job import Job
from onboard.layers import spread_blocks
from onboard.model import Model
from onboard.planes import COLOUR, enlarge
from onboard.scan import scan
from onboard.shot import single_shot
from onboard.wire import MAX_PACKET, Colour
from training.pictures import VALIDATION_EVERY, describe, load, luma, split

CROP = 40  # cells a side
INDICES = (40, 150, 200)  # least, likeliest, most; previews take the upper half
LEAST_ERROR = 1.0  # squared levels: nearly perfect examples do not outweigh all others
VALIDATION_INDICES = (96, 128, 160, 184)
VALIDATION_STEPS = (48, 64, 80, 96, 112)
VALIDATION_SIDE = 512
VALIDATED_SHARE, MOST_VALIDATED = 3, 32  # one of so many pictures of the validation share, and so many at most
KEPT_SIDE = 2048  # pixels a side of what is kept of a picture, at most


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
        nets: folder of the net by whose luma chroma goes; None for the shipped ones.
    """

    layout: Layout
    side: int
    planes: int
    scale_log2: int
    colour: Colour
    refined: bool = False
    most: int = 640
    indices: tuple[int, int, int] = INDICES
    nets: Path | None = None

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
    # colour is finer than luma at any index
    "chroma": Part(LAYOUTS["chroma"], 8, 2, 0, Colour.YCBCR420, indices=(5, 130, 200)),
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


def pictures_of(paths: Sequence[Path], part: Part) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(training, validation): of every picture at least half as large as a crop the middle, at most KEPT_SIDE pixels a
    side: its 8-bit luma, or for the chroma net itself where it has 8 bits and colour.

    Of the validation share only as many as validation() needs. Raises InputError when there are too few.
    """
    found = []
    for picture in load(paths, "pictures"):
        usable = part.grey or (picture.ndim == 3 and picture.dtype == np.uint8)
        if usable and 2 * min(picture.shape[:2]) >= part.crop:
            found.append(_middle(luma(picture) if part.grey else picture).copy())  # or all of it would be kept
    if len(found) < VALIDATION_EVERY:
        what = "pictures" if part.grey else "pictures in colour of 8 bits"
        least = part.crop // 2
        raise InputError(
            f"{len(found)} of {len(paths)} pictures can be used: at least {VALIDATION_EVERY} {what} of at least "
            f"{least}x{least} are needed, for one of {VALIDATION_EVERY} is kept for validation"
        )
    training, unseen = split(found)
    return training, unseen[:: max(VALIDATED_SHARE, -(-len(unseen) // MOST_VALIDATED))]


def _middle(picture: np.ndarray) -> np.ndarray:
    """What is kept of a picture."""
    y, x = (max(n - KEPT_SIDE, 0) // 2 for n in picture.shape[:2])
    return picture[y : y + KEPT_SIDE, x : x + KEPT_SIDE]


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
        seen = chroma_features(part.layout, decode_luma(decoding, GUIDE[0], part.nets), plain[1:], known)
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


def _chroma(picture: np.ndarray) -> np.ndarray:
    """Cb and Cr at full size, uint8 (2, height, width)."""
    mixed = picture.astype(np.int32) @ COLOUR[1:, :3].T + COLOUR[1:, 3]
    return np.moveaxis(mixed >> 16, -1, 0).astype(np.uint8)
