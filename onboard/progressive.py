"""From preview to lossless: which layers a picture gets for a budget, and what is added to what has been sent.

The base is the preview's own; the layers above refer to what its packets decode to, so this is where the encoder meets
the decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log

import numpy as np

from onboard.decoder import Decoding
from onboard.encoder import ALL_GROUP_1, Encoding
from onboard.job import Job
from onboard.layer_header import FIRST_REFINEMENT, FORETOLD, LAYER_LOSSLESS, NORMATIVE
from onboard.packer import Packer
from onboard.planes import enlarge, strips
from onboard.rate import Choice, fit_budget
from onboard.rate import Job as RateJob
from onboard.reference import Rect, whole
from onboard.refiner import (
    DEAD_ZONE,
    LOSSLESS_LEAST_PACKET,
    QUICK_COLUMNS,
    SEARCHED_BLOCKS,
    Grain,
    Part,
    PartCoder,
    base_index,
    lossless_bits,
    lossless_planes,
    lossless_sections,
    source_planes,
    steps_deeper,
)
from onboard.spend import AIM, COARSEST, START_STEP, BitsOf, counted, find_grain, find_step, first, spend
from onboard.survey import Survey, survey
from onboard.wire import BLOCK, LOSSLESS_QUALITY, MAX_QUALITY, Colour, Packet, header_size, pack, unpack

LAYERS_ONLY_FROM = 0.35  # bits per pixel: from here on a refinement is always better than a base alone
LAYERS_FROM_INDEX = 140  # a refinement may be better than a base alone that is finer than this, hardly than any other
LIKELY = 1.06  # squared errors of some bands: layers that would win by less are not worth asking the whole picture
MUST_BE_BETTER = 2.0  # than the finest preview's squared error: what its decoder and its chroma gain beyond plain luma
QUICK_BLOCKS = 1 << 13  # counted of a sample of a picture
SURVEYED_BLOCKS = 1 << 12  # counted of its bands
ROUGH_BLOCKS = 1 << 11  # counted of a sample of a picture to know about which base goes with a budget
REBASES, CLOSE_INDEX = 4, 4  # a base need not be made anew for a step that goes with an index so close
STEP_AT_INDEX_0, STEPS_PER_INDEX = 40, 0.456  # the step that takes as much as a base alone of an index, about
SPARSE_SIZE_PER_STEP, QUICK_STEPS = 0.065, 3  # a refinement of few symbols grows by so much per finer step; tried
CLOSE_ENOUGH = 12  # the same for a verdict, which so small a difference moves by 1 %
SAFETY = 0.995  # of the budget: counted sizes leave out the filling of last bytes
PACKET_OVERHEAD = 30  # about
LOSSLESS_DOUBT = 1.2  # a lossless stream is only made when it is counted to be at most so many times the budget
QUICK_DOUBT = 1.5  # the same of a first guess
LOSSLESS_INDEX, LOSSLESS_SCALE_LOG2 = 140, 1  # the preview that goes with a lossless stream: some 0.02 bpp


def retag(tag: int, *facts: int) -> int:
    """A tag for a stream that adds layers made by these facts to the stream of another tag."""
    return zlib.crc32(struct.pack(f">{len(facts) + 1}I", tag, *facts)) & 0xFFFF


def with_tag(packets: Iterable[Packet], tag: int) -> list[Packet]:
    """The same packets under another tag."""
    return [replace(p, description=replace(p.description, tag=tag)) for p in packets]


@dataclass(frozen=True)
class Shot:
    """Layer 0 alone as the base, and what it does not foretell, ready to be coded at any grain.

    Attributes:
        index: of the base.
        share: pixels of the parts for each of the picture; one that is not whole can be counted only.
    """

    job: Job
    index: int
    base: list[Packet]
    parts: list[PartCoder]
    share: float = 1.0

    @cached_property
    def bits_of(self) -> BitsOf:
        bits = counted(self.parts)
        return bits if self.share == 1 else lambda grain: bits(grain) / self.share

    @property
    def base_size(self) -> int:
        return sum(len(pack(p)) for p in self.base)

    def room(self, budget: float) -> float:
        """Bytes of a budget that are left for the refinement's symbols, about."""
        sources = budget * self.job.source_share(int(budget)) - self.base_size
        return sources - PACKET_OVERHEAD * (1 + sources / self.job.packet_size)

    def packets(self, grain: Grain) -> list[bytes]:
        tag = self.job.tag
        if tag is None:
            own = (grain.dead_zone,) if grain.dead_zone != DEAD_ZONE else ()
            tag = retag(self.base[0].description.tag, grain.step, *own)
        base = with_tag(self.base, tag)
        packer = self.job.packer(base[0].description, self.index)
        for part in self.parts:
            part.sections(grain, packer)
        return self.job.seal(base + packer.finish())

    def error(self, step: int) -> float:
        """Squared error of the parts' luma, about."""
        return self.parts[0].measure(Grain(step))[1]


def make_shot(job: Job, step: int, searched_blocks: int = SEARCHED_BLOCKS) -> Shot:
    """A base that goes well with a refinement step."""
    encoding, index, base = _make_base(job, step)
    d = base[0].description
    received = Decoding(d, job.model)  # of what the packets will say
    for state, latents in zip(received.planes, encoding.first_latents(index), strict=True):
        state.first[:], state.first_index[:] = latents, index
    parts = [
        Part(p, FIRST_REFINEMENT, FORETOLD, whole(d, p), source, received.reference(p, FORETOLD))
        for p, source in enumerate(source_planes(job.picture, d))
    ]
    return Shot(job, index, base, [PartCoder(part, d, searched_blocks) for part in parts])


def survey_shot(job: Job, bands: Survey, step: int) -> Shot:
    """The same base, and of what it leaves some bands."""
    _, index, base = _make_base(job, step)
    return Shot(job, index, base, bands.parts(index, SURVEYED_BLOCKS), bands.share)


def _make_base(job: Job, step: int) -> tuple[Encoding, int, list[Packet]]:
    """The picture's latents, the index of layer 0 that goes well with a refinement step, and its packets."""
    encoding, index = job.layer_0(), base_index(step, steps_deeper(job.base))
    base = encoding.sources(index, job.packet_size, ALL_GROUP_1, job.extensions, job.tag, job.protection)
    return encoding, index, base


def single_shot(job: Job, step: int) -> list[bytes]:
    """Layer 0, and layer 2 for every block at a step (see LAYER_STEPS)."""
    return make_shot(job, step).packets(Grain(step))


def fit_shot(job: Job, budget: int) -> tuple[Shot, int] | None:
    """The base and the finest refinement step that fit the budget together, by counts; None when none does."""
    sample, step = job.sample(), START_STEP
    if sample is not job:  # the first guess is that of a small part of a large picture
        share = int(budget * job.source_share(budget) * sample.pixels / job.pixels)
        rough = make_shot(sample, step, ROUGH_BLOCKS)
        step = find_step(rough.bits_of, 8 * rough.room(SAFETY * share), step)
        found = _fit_shot(sample, share, step, QUICK_BLOCKS)
        if found is None:
            return None
        step = found[1]
    return _fit_shot(job, budget, step)


def _fit_shot(job: Job, budget: int, step: int, searched_blocks: int = SEARCHED_BLOCKS) -> tuple[Shot, int] | None:
    """The same from a guess of the step."""
    seen = set()
    for _ in range(REBASES):
        shot = make_shot(job, step, searched_blocks)
        bits = 8 * shot.room(SAFETY * budget)
        seen.add(step)
        step = find_step(shot.bits_of, bits, step)
        if abs(base_index(step, steps_deeper(job.base)) - shot.index) <= CLOSE_INDEX or step in seen:
            break
    return (shot, step) if bits > 0 else None


def luma_error(job: RateJob, packets: list[bytes], scale_log2: int) -> float:
    """Squared error of the plain luma against the picture's, both at a scale not coarser than the coded one."""
    assert isinstance(job, Job)
    parsed = [unpack(p)[0] for p in packets]
    d = parsed[0].description
    decoding = Decoding(d, job.model)
    decoding.add(parsed)
    target = replace(job.base, scale_log2=scale_log2, colour=Colour.GREY)
    ours = enlarge(decoding.plain()[0], target, d.scale_log2, scale_log2)
    total, top = 0.0, 0
    for _, _, strip in strips(job.picture, target):
        difference = strip.astype(np.float32) - ours[top : top + strip.shape[0]]
        total += float(np.vdot(difference, difference))
        top += strip.shape[0]
    return total


def base_error(job: Job, packets: list[bytes]) -> float:
    """Squared error of a base's plain luma at the depth of the source, where Shot.error is at home."""
    if job.base.window is None:
        return luma_error(job, packets, 0)
    parsed = [unpack(p)[0] for p in packets]
    decoding = Decoding(parsed[0].description, job.model)
    decoding.add(parsed)
    difference = np.subtract(
        source_planes(job.picture, job.base)[0], decoding.reference(0, NORMATIVE), dtype=np.float32
    )
    return float(np.vdot(difference, difference))


def at_quality(job: Job, quality: float) -> list[bytes]:
    """A stream between the finest preview and a lossless one; the coarsest is just better than that preview.

    Of a deep picture the finest steps may say no more than noise, and take more than the lossless stream: it is then
    that. (At 8 bits they take a few per cent more at most.)
    """
    finest = base_error(job, job.packets(0, 0)) / MUST_BE_BETTER
    shot = make_shot(job, START_STEP)
    as_good = first(0, COARSEST, lambda step: shot.error(step) > finest) - 1
    step = max(round(as_good * (LOSSLESS_QUALITY - quality) / (LOSSLESS_QUALITY - MAX_QUALITY)), 0)
    packets = single_shot(job, step)
    exact = None if job.base.window is None else _lossless_within(job, job.size(packets), None)
    return packets if exact is None else exact


def fit(job: Job, budget: int, scale_log2: int | None) -> list[bytes]:
    """The best stream of at most `budget` bytes: a base alone, or a base and a refinement made for each other.

    Args:
        scale_log2: of the base, None to choose; any scale but 1 asks for a base alone.

    Raises:
        BudgetError: no stream is that small.
    """
    layers = scale_log2 in (None, 0)
    alone: list[bytes] | None = None
    if not (layers and 8 * budget * job.source_share(budget) >= LAYERS_ONLY_FROM * job.pixels):
        choice = fit_budget(job, budget, scale_log2, job.model.price, luma_error)
        alone = choice.packets
        if not layers or choice.scale_log2 or choice.index >= LAYERS_FROM_INDEX:
            return alone
        if job.is_large and not _layers_may_win(job, budget, choice):
            return alone
    exact = _lossless_within(job, budget, scale_log2)
    if exact is not None:
        return exact
    found = fit_shot(job, budget)
    if found is not None:
        shot, step = found
        if alone is not None and base_error(job, alone) <= shot.error(step):
            return alone
        start = find_grain(shot.bits_of, 8 * shot.room(AIM * budget), step)
        packets, size = spend(budget, start, shot.bits_of, shot.packets, job.size)
        if size <= budget:
            return packets
    return alone if alone is not None else fit_budget(job, budget, scale_log2, job.model.price, luma_error).packets


def _layers_may_win(job: Job, budget: int, alone: Choice) -> bool:
    """Whether a base and a refinement may be better than a base alone, by some bands of the picture."""
    effort = job.effort(alone.price)
    bands = survey(job.picture, job.encoding(0, alone.index))
    step = min(round(STEP_AT_INDEX_0 + STEPS_PER_INDEX * alone.index), COARSEST)
    for _ in range(2):
        shot = survey_shot(job, bands, step)
        bits = 8 * shot.room(SAFETY * budget)
        if bits <= 0:
            return False
        step, error = _foretell(shot, bits, step)
        if abs(base_index(step, steps_deeper(job.base)) - shot.index) <= CLOSE_ENOUGH:
            break
    return bands.base_error(alone.index, effort) > LIKELY * error


def _foretell(shot: Shot, bits: float, guess: int) -> tuple[int, float]:
    """About the step that takes so many bits, and their squared error: straight lines in logarithms, nearly."""

    def at(step: int) -> tuple[float, float, int]:
        return log(max(shot.bits_of(Grain(step)), 1) / bits), log(max(shot.error(step), 1)), step

    seen, slope = [at(guess)], -SPARSE_SIZE_PER_STEP
    while len(seen) < QUICK_STEPS:
        excess, _, step = seen[0]
        step = min(max(step - (round(excess / slope) or 1), 0), COARSEST)
        if step in [each[2] for each in seen]:
            break
        seen = sorted([*seen, at(step)], key=lambda each: abs(each[0]))
        if seen[0][0] != seen[1][0]:
            slope = (seen[0][0] - seen[1][0]) / (seen[0][2] - seen[1][2])
    (near, error, step), (far, other, _) = seen[0], seen[-1 if len(seen) == 1 else 1]
    return step, exp(error - (near * (other - error) / (far - near) if far != near else 0))


def _lossless_within(job: Job, budget: int, scale_log2: int | None) -> list[bytes] | None:
    """The lossless stream if it fits the budget."""
    extended = header_size(job.base, job.extensions) - header_size(job.base, ())
    if job.packet_size < LOSSLESS_LEAST_PACKET + extended or job.protection is not None:
        return None
    most = 8 * LOSSLESS_DOUBT * budget
    if lossless_bits(job.picture, job.base, QUICK_COLUMNS) > QUICK_DOUBT * most:
        return None
    if lossless_bits(job.picture, job.base) > most:
        return None
    packets = lossless(job, None, scale_log2)
    return packets if job.size(packets) <= budget else None


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
