"""A refinement that is coded once, to a budget: every section is as fine as what those before it took allows.

Symbols counted here and there in a part tell how its bits are spread over it, and about how many they are. How many
they really are shows while it is coded; what is left of the budget then sets the dead zone, and if need be the step, of
the next section. So sections differ by a few per cent of a step at most, and nothing is coded twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from math import exp, log

from onboard.layer_header import LAYER_STEPS
from onboard.packer import Packer
from onboard.refiner import DEAD_ZONE, Grain, PartCoder

ZONE_PER_STEP = 48  # widening of the dead zone that saves about what a coarser step does
FURTHEST = 4.0  # steps from the first level
TRUST = 1.0  # of all bits: what has been coded counts against so much of what was counted
OFTEN = 1 / 128  # of all bits: a grain holds for at least so many
END, AT_END = 1 / 32, 16.0  # of all bits: so far from the end a grain may become that many steps coarser
PACKET_OVERHEAD = 30  # bytes of a packet beside its symbols, about


def grain_of(level: float) -> Grain:
    """The grain of a level: a step, or one between it and the next coarser one."""
    level = min(max(level, 0.0), len(LAYER_STEPS) - 1.0)
    step = int(level)
    return Grain(step, DEAD_ZONE + round((level - step) * ZONE_PER_STEP))


class Pace:
    """Chooses the grain of each section of some parts.

    Args:
        parts: in the order in which they will be coded.
        step: at which their symbols have been counted.
        slope: by how much a step changes the logarithm of their bits.
        room: bytes that `packer` may hold when all is coded.
    """

    def __init__(self, parts: Sequence[PartCoder], step: int, slope: float, packer: Packer, room: float) -> None:
        self._parts, self._step, self._slope, self._packer, self._room = parts, step, slope, packer, room
        headers = packer.size / max(packer.size - PACKET_OVERHEAD, 1)
        spread = [[s * (headers / 8) for s in part.spread(Grain(step))] for part in parts]
        self._sums = [[[0.0, *accumulate(s.tolist())] for s in grids] for grids in spread]
        before = [0.0, *accumulate(grid[-1] for grids in self._sums for grid in grids)]
        self._before, self._all = iter(before), before[-1]
        self._counted = self._expected = 0.0  # bytes so far: at the step counted at, and at the levels chosen
        self._changed = 0.0  # bytes counted when the level was last chosen
        self._begun = packer.used
        self._middle = float(step)  # of the levels that may be chosen
        self._level = self._middle = self._choose()

    def code(self) -> None:
        """Put all parts into the packer."""
        for part, grids in zip(self._parts, self._sums, strict=True):
            before = [next(self._before) for _ in grids]
            own = partial(self._grain_at, blocks_of(part), grids, before)
            part.sections(Grain(self._step), self._packer, own)

    def _grain_at(
        self, blocks: list[int], sums: list[list[float]], before: list[float], grid: int, block: int
    ) -> tuple[Grain, int]:
        counted = before[grid] + _until(sums[grid], block / blocks[grid])
        self._expected += (counted - self._counted) * self._factor(self._level)
        self._counted = counted
        if counted - self._changed > OFTEN * self._all:
            self._changed = counted
            self._level = self._choose()
        return grain_of(self._level), blocks[grid]

    def _factor(self, level: float) -> float:
        return exp(self._slope * (self._step - level))

    def _choose(self) -> float:
        """The level at which what is left should just fit."""
        trust = max(TRUST * self._all, 1.0)
        used = self._packer.used - self._begun
        left = (self._all - self._counted) * (used + trust) / (self._expected + trust)
        level = self._step + log(max(left, 1.0) / max(self._room - used, 1.0)) / self._slope
        coarser = AT_END if self._all - self._counted < END * self._all else FURTHEST
        return min(max(level, self._middle - FURTHEST), self._middle + coarser)


def _until(sums: list[float], share: float) -> float:
    """A running sum at a share of the way, straight lines between."""
    place = share * (len(sums) - 1)
    whole = min(int(place), len(sums) - 2)
    return sums[whole] + (place - whole) * (sums[whole + 1] - sums[whole])


def blocks_of(part: PartCoder) -> list[int]:
    """Blocks of each grid."""
    return [len(local) for _, _, local in part.grids]


def blend(parts: Sequence[PartCoder], packer: Packer, grain: Grain, finer: Grain, share: float) -> None:
    """Code parts, so many of their blocks at the finer of two grains and those behind them at the other."""
    left = round(share * sum(part.part.blocks for part in parts))

    def grain_at(blocks: list[int], grid: int, block: int) -> tuple[Grain, int]:
        here = left - sum(blocks[:grid])
        return (finer, min(here, blocks[grid])) if block < here else (grain, blocks[grid])

    for part in parts:
        blocks = blocks_of(part)
        part.sections(grain, packer, partial(grain_at, blocks))
        left -= sum(blocks)
