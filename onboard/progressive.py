"""From preview to lossless: which layers a picture gets for a budget, and what is added to what has been sent.

The base is the preview's own; the layers above refer to what its packets decode to, so this is where the encoder meets
the decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from onboard.decoder import Decoding
from onboard.encoder import Effort, Job, Packer
from onboard.layer_header import FIRST_REFINEMENT, FORETOLD, LAYER_LOSSLESS, LAYER_STEPS
from onboard.planes import plane_count
from onboard.rate import ErrorOf, fit_budget
from onboard.reference import Rect, whole
from onboard.refiner import (
    Coefficients,
    Part,
    base_index,
    find_step,
    lossless_planes,
    lossless_sections,
    source_planes,
)
from onboard.wire import BLOCK, Packet, pack, unpack

ALL_GROUP_1 = Effort((1 << 32) - 1, 255)  # no block is worth more than one latent: the layers above say the rest
LAYERS_ONLY_FROM = 0.35  # bits per pixel: from here on a refinement is always better than a base alone
PREVIEW_BPP = 0.12  # up to here the search must be quick: a refinement is only tried when the base alone is finer than
FULL_INDEX = 70  # this, so nearly saturated; from there on when it is finer than
BUSY_INDEX = 100
SHOWN_BETTER = 1.1  # what neighbour-aware decoding makes of a base's squared error, which the plain error does not show
START_STEP = 64
REBASES = 4
SAFETY = 0.995  # of the budget: counted sizes leave out the filling of last bytes
PACKET_OVERHEAD = 30  # about
FINER_TRIES = 2  # steps finer than the counts say, coded all the same: counts are of samples, and cautious
LOSSLESS_INDEX, LOSSLESS_SCALE_LOG2 = 140, 1  # the preview that goes with a lossless stream: some 0.02 bpp


def retag(tag: int, *facts: int) -> int:
    """A tag for a stream that adds layers made by these facts to the stream of another tag."""
    return zlib.crc32(struct.pack(f">{len(facts) + 1}I", tag, *facts)) & 0xFFFF


def with_tag(packets: Iterable[Packet], tag: int) -> list[Packet]:
    """The same packets under another tag."""
    return [replace(p, description=replace(p.description, tag=tag)) for p in packets]


@dataclass(frozen=True)
class Shot:
    """Layer 0 alone as the base, and what it does not foretell, ready to be coded at any step."""

    job: Job
    index: int
    base: list[Packet]
    coefficients: list[Coefficients]

    @property
    def base_size(self) -> int:
        return sum(len(pack(p)) for p in self.base)

    def packets(self, step: int) -> list[bytes]:
        tag = self.job.tag
        if tag is None:
            tag = retag(self.base[0].description.tag, step)
        base = with_tag(self.base, tag)
        packer = self.job.packer(base[0].description, self.index)
        for c in self.coefficients:
            c.sections(step, packer)
        return self.job.seal(base + packer.finish())

    def error(self, step: int) -> float:
        """Squared error of the luma, about."""
        return self.coefficients[0].measure(step)[2]


def make_shot(job: Job, step: int) -> Shot:
    """A base that goes well with a refinement step."""
    index = base_index(step)
    base = job.sources(index, ALL_GROUP_1)
    d = base[0].description
    decoding = Decoding(d, job.model)
    decoding.add(base)
    sources = source_planes(job.picture, d)
    parts = [
        Part(p, FIRST_REFINEMENT, FORETOLD, whole(d, p), sources[p], decoding.reference(p, FORETOLD))
        for p in range(plane_count(d.colour))
    ]
    return Shot(job, index, base, [Coefficients(part, d) for part in parts])


def single_shot(job: Job, step: int) -> list[bytes]:
    """Layer 0, and layer 2 for every block at a step (see LAYER_STEPS)."""
    return make_shot(job, step).packets(step)


def fit_shot(job: Job, budget: int) -> tuple[Shot, int] | None:
    """The base and about the finest refinement step that fit the budget together; None when none does."""
    step, seen = START_STEP, set()
    room = SAFETY * budget * job.source_share(budget)  # less framing and erasure packets
    for _ in range(REBASES):
        shot = make_shot(job, step)
        bits = 8 * (room - shot.base_size - PACKET_OVERHEAD)
        seen.add(step)
        found = find_step(shot.coefficients, bits)
        if base_index(found) == shot.index or found in seen:
            return (shot, found) if bits > 0 else None
        step = found
    return (shot, find_step(shot.coefficients, bits)) if bits > 0 else None


def fit(job: Job, budget: int, scale_log2: int | None, error: ErrorOf) -> list[bytes]:
    """The best stream of at most `budget` bytes: a base alone, or a base and a refinement made for each other.

    Args:
        scale_log2: of the base, None to choose; any scale but 1 asks for a base alone.
        error: squared error of a base's luma at scale 1.

    Raises:
        BudgetError: no stream is that small.
    """
    bpp = 8 * budget * job.source_share(budget) / job.pixels
    deep_colour = job.base.window is not None and job.picture.ndim > 2  # nothing between a preview and lossless
    layers = scale_log2 in (None, 0) and not deep_colour
    alone: list[bytes] | None = None
    if not (layers and bpp >= LAYERS_ONLY_FROM):
        choice = fit_budget(job, budget, scale_log2, job.model.price, error)
        alone = choice.packets
        if not layers or choice.scale_log2 or choice.index >= (BUSY_INDEX if bpp > PREVIEW_BPP else FULL_INDEX):
            return alone
    shot = fit_shot(job, budget)
    if alone is not None and shot is not None and error(job, alone, 0) <= SHOWN_BETTER * shot[0].error(shot[1]):
        return alone
    packets = None if shot is None else finest_shot(*shot, budget)
    if packets is not None:
        return packets
    return alone if alone is not None else fit_budget(job, budget, scale_log2, job.model.price, error).packets


def finest_shot(shot: Shot, counted: int, budget: int) -> list[bytes] | None:
    """The finest step that fits, from about the one that the counts say."""
    best: list[bytes] | None = None
    for step in range(max(counted - FINER_TRIES, 0), len(LAYER_STEPS)):  # counted sizes are not exact
        best = shot.packets(step)
        if shot.job.size(best) <= budget:
            break
    else:
        return None
    if shot.job.overhead or shot.job.protection:  # what these take was a guess
        while step > 0 and shot.job.size(finer := shot.packets(step - 1)) <= budget:
            best, step = finer, step - 1
    return best


def lossless(job: Job, quality_index: int | None, scale_log2: int | None) -> list[bytes]:
    """A preview and layer 15 of every block."""
    index = LOSSLESS_INDEX if quality_index is None else quality_index
    if scale_log2 is None:
        scale_log2 = LOSSLESS_SCALE_LOG2 if quality_index is None else 0
    base = [unpack(p)[0] for p in job.packets(scale_log2, index)]
    if job.tag is None:
        base = with_tag(base, retag(base[0].description.tag, LAYER_LOSSLESS))
    d = base[0].description
    packer = Packer(d, index, job.packet_size, job.extensions)
    rows, columns = -(-d.height // BLOCK), -(-d.width // BLOCK)
    lossless_sections(lossless_planes(job.picture, d), Rect(0, rows, 0, columns), d, packer)
    return job.seal(base) + packer.packed()
