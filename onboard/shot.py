"""A base and a refinement made for each other, at a step or within a budget.

The base is layer 0 alone. The refinement refers to what its packets decode to, so this is where the encoder meets the
decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log

from onboard.decoder import Decoding
from onboard.encoder import ALL_GROUP_1
from onboard.job import Job
from onboard.layer_header import FIRST_REFINEMENT, FORETOLD
from onboard.pace import PACKET_OVERHEAD, Pace, blend, grain_of
from onboard.packer import Packer
from onboard.reference import whole
from onboard.refiner import DEAD_ZONE, Grain, Part, PartCoder, base_index, source_planes, steps_deeper
from onboard.spend import AIM, COARSEST, SIZE_PER_STEP, START_STEP, BitsOf, counted, find_grain, find_step, spend
from onboard.survey import Survey, survey
from onboard.wire import Packet, pack

SURVEYED_BLOCKS, ROUGH_BLOCKS = 1 << 12, 1 << 11  # counted of bands of a picture, for a verdict and for a first guess
START_BPP = 0.5  # of a photo at START_STEP, about
SPARSE_SIZE_PER_STEP, QUICK_STEPS = 0.065, 3  # a refinement of few symbols grows by so much per finer step; tried
ROUGH_STEPS, CLOSE_BITS = 4, 0.12  # the same for a first guess, which is good enough within so much of the logarithm
LEAST_SLOPE, MOST_SLOPE = 0.02, 0.12  # of the logarithm of bits by steps
REBASES, CLOSE_INDEX = 4, 4  # a base need not be made anew for a step that goes with an index so close
COUNT_AGAIN = 1.25  # steps from the one counted: so far the slope is not to be trusted
PACED_PACKETS = 8  # a stream of so many is coded once, its later sections as finely as the first ones allow
PACED_AIM = 0.993  # of the budget
LEAST_USED = 0.975  # of the budget: else it is coded again
SAFETY = 0.995  # of the budget: counted sizes leave out the filling of last bytes


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
        base: its packets; of a shot that can be counted only none.
        base_size: their bytes.
        share: pixels of the parts for each of the picture.
    """

    job: Job
    index: int
    base: list[Packet]
    base_size: float
    parts: list[PartCoder]
    share: float = 1.0

    @cached_property
    def bits_of(self) -> BitsOf:
        bits = counted(self.parts)
        return bits if self.share == 1 else lambda grain: bits(grain) / self.share

    def room(self, budget: float) -> float:
        """Bytes of a budget that are left for the refinement's symbols, about."""
        sources = self._sources(budget)
        return sources - PACKET_OVERHEAD * (1 + sources / self.job.packet_size)

    def packets(self, grain: Grain, finer: Grain | None = None, share: float = 0.0) -> list[bytes]:
        """The stream, of one grain throughout or of a finer one for a share of the blocks."""
        own = (grain.dead_zone,) if grain.dead_zone != DEAD_ZONE else ()
        blended = (finer.step, finer.dead_zone, round(share * (1 << 20))) if finer else ()
        base, packer = self._begin(grain.step, *own, *blended)
        blend(self.parts, packer, grain, finer or grain, share)
        return self.job.seal(base + packer.finish())

    def paced(self, budget: int, step: int, slope: float) -> list[bytes]:
        """The stream that should just fit a budget: see Pace."""
        room = self._sources(PACED_AIM * budget)
        base, packer = self._begin(step, round(room), round(slope * 4096))
        Pace(self.parts, step, slope, packer, room).code()
        return self.job.seal(base + packer.finish())

    def error(self, step: int) -> float:
        """Squared error of the parts' luma, about."""
        return self.parts[0].measure(Grain(step))[1]

    def _sources(self, budget: float) -> float:
        """Bytes of a budget that are left for source packets of the refinement."""
        return budget * self.job.source_share(int(budget)) - self.base_size

    def _begin(self, *facts: int) -> tuple[list[Packet], Packer]:
        """The base under the tag of a stream that is made by these facts, and a packer for the rest of it."""
        tag = retag(self.base[0].description.tag, *facts) if self.job.tag is None else self.job.tag
        base = with_tag(self.base, tag)
        return base, self.job.packer(base[0].description, self.index)


@dataclass(frozen=True)
class Found:
    """A shot for a budget.

    Attributes:
        step: at which it has been counted.
        level: about the step that fits, or one between two.
        slope: by how much a step changes the logarithm of the refinement's bits; 0 when that was not asked.
    """

    shot: Shot
    step: int
    level: float
    slope: float = 0.0

    def error(self) -> float:
        return self.shot.error(self.step)

    def packets(self, budget: int) -> tuple[list[bytes], int]:
        """(the stream that is as fine as a budget allows, its bytes); the smallest seen when none is so small."""
        shot, job = self.shot, self.shot.job
        if self.slope == 0:
            start = find_grain(shot.bits_of, 8 * shot.room(AIM * budget), self.step)
        else:
            if budget >= PACED_PACKETS * job.packet_size:
                packets = shot.paced(budget, self.step, self.slope)
                if LEAST_USED * budget <= (size := job.size(packets)) <= budget:
                    return packets, size
            start = grain_of(self.level)
        return spend(budget, start, shot.bits_of, shot.packets, job.size)


def _index(job: Job, step: int) -> int:
    """The quantiser index of a layer 0 that goes well with a refinement step."""
    return base_index(step, steps_deeper(job.base))


def make_shot(job: Job, step: int) -> Shot:
    """A base that goes well with a refinement step."""
    index = _index(job, step)
    base, encoding = _base(job, index), job.layer_0()
    d = base[0].description
    received = Decoding(d, job.model)  # of what the packets will say
    for state, latents in zip(received.planes, encoding.first_latents(index), strict=True):
        state.first[:], state.first_index[:] = latents, index
    parts = [
        Part(p, FIRST_REFINEMENT, FORETOLD, whole(d, p), source, received.reference(p, FORETOLD))
        for p, source in enumerate(source_planes(job.picture, d))
    ]
    size = sum(len(pack(p)) for p in base)
    return Shot(job, index, base, size, [PartCoder(part, d) for part in parts])


def survey_shot(job: Job, bands: Survey, step: int) -> Shot:
    """The same of some bands, to be counted."""
    index = _index(job, step)
    size = sum(len(pack(p)) for p in _base(job, index))
    return Shot(job, index, [], size, bands.parts(index, SURVEYED_BLOCKS), bands.share)


def _base(job: Job, index: int) -> list[Packet]:
    return job.layer_0().sources(index, job.packet_size, ALL_GROUP_1, job.extensions, job.tag, job.protection)


def single_shot(job: Job, step: int) -> list[bytes]:
    """Layer 0, and layer 2 for every block at a step (see LAYER_STEPS)."""
    return make_shot(job, step).packets(Grain(step))


def fit_shot(job: Job, budget: int) -> Found | None:
    """The base and the finest refinement that fit the budget together, by counts; None when none does."""
    return _fit_surveyed(job, budget) if job.is_large else _fit_counted(job, budget)


def _fit_counted(job: Job, budget: int) -> Found | None:
    step, seen = START_STEP, set()
    for _ in range(REBASES):
        shot = make_shot(job, step)
        bits = 8 * shot.room(SAFETY * budget)
        seen.add(step)
        step = find_step(shot.bits_of, bits, step)
        if _goes_with(job, step, shot) or step in seen:
            break
    return Found(shot, step, step) if bits > 0 else None


def _fit_surveyed(job: Job, budget: int) -> Found | None:
    """The same of a large picture: what bands of it tell, and then what one count of all of it adds."""
    guess = round(START_STEP - log(8 * budget / (START_BPP * job.pixels)) / SIZE_PER_STEP)
    guess = min(max(guess, 0), COARSEST)
    bands = survey(job.picture, job.layer_0())
    index = _index(job, guess)
    shot = Shot(job, index, [], bands.layer_0_bytes(index), bands.parts(index, ROUGH_BLOCKS), bands.share)
    bits = 8 * shot.room(PACED_AIM * budget)
    level, slope = float(COARSEST), SPARSE_SIZE_PER_STEP
    if bits > 0:  # a base that goes with the level found changes it by less than bands differ from the picture
        level, slope, _ = foretell_step(shot, bits, guess, ROUGH_STEPS, CLOSE_BITS)
    seen: list[tuple[int, float]] = []  # steps and the logarithms of their bits
    for _ in range(REBASES):
        step = round(level)
        shot = make_shot(job, step)
        bits = 8 * shot.room(PACED_AIM * budget)
        if bits <= 0:
            return None
        seen.append((step, log(max(shot.bits_of(Grain(step)), 1))))
        if len({at for at, _ in seen[-2:]}) == 2:
            (other, more), (_, less) = seen[-2:]
            slope = _usual((more - less) / (step - other))
        level = min(max(step + (seen[-1][1] - log(bits)) / slope, 0), COARSEST)
        if _goes_with(job, round(level), shot):
            break
    if abs(level - step) > COUNT_AGAIN:
        step = round(level)
        level = min(max(step + log(max(shot.bits_of(Grain(step)), 1) / bits) / slope, 0), COARSEST)
    return Found(shot, step, level, slope)


def _goes_with(job: Job, step: int, shot: Shot) -> bool:
    return abs(_index(job, step) - shot.index) <= CLOSE_INDEX


def _usual(slope: float) -> float:
    return min(max(slope, LEAST_SLOPE), MOST_SLOPE)


def foretell_step(
    shot: Shot, bits: float, guess: int, tries: int = QUICK_STEPS, close: float = 0.0
) -> tuple[float, float, float]:
    """About the level that takes so many bits, by how much a step changes their logarithm, and the squared error:
    straight lines in logarithms, nearly.

    Args:
        tries: steps that are counted, at most.
        close: a logarithm of bits so near the one asked for is good enough.
    """

    def at(step: int) -> tuple[float, float, int]:
        return log(max(shot.bits_of(Grain(step)), 1) / bits), log(max(shot.error(step), 1)), step

    seen, slope = [at(guess)], SPARSE_SIZE_PER_STEP
    while len(seen) < tries:
        excess, _, step = seen[0]
        if len(seen) > 1 and abs(excess) < close:
            break
        step = min(max(step + (round(excess / slope) or 1), 0), COARSEST)
        if step in [each[2] for each in seen]:
            break
        seen = sorted([*seen, at(step)], key=lambda each: abs(each[0]))
        if seen[0][0] != seen[1][0]:
            slope = (seen[0][0] - seen[1][0]) / (seen[1][2] - seen[0][2])
    (near, error, step), (far, other, _) = seen[0], seen[-1 if len(seen) == 1 else 1]
    error = exp(error - (near * (other - error) / (far - near) if far != near else 0))
    slope = _usual(slope)
    return min(max(step + near / slope, 0.0), COARSEST), slope, error
