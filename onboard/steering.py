"""Which step each section of a refinement takes, so that all of them fit a budget in one pass of coding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, log

import numpy as np

from onboard.encoder import Packer
from onboard.layer_header import LAYER_STEPS
from onboard.wire import Section

SIZE_PER_STEP = 0.065  # a stream grows by about this much per finer step
DOUBT = 0.02  # of all bits: how many must be coded until they say as much as the counts did
STEER_MOST = 3  # steps: the last sections may be coarser, if they must
STEER_TO = 0.998  # of the budget
STEER_FINER = 0.5  # steps: the nearest one is taken


@dataclass(frozen=True)
class Measure:
    """What a part takes at a step, from a share of its blocks.

    Attributes:
        table_set: the best one.
        bits: of each span of blocks that one run of counted blocks stands for.
        ends: the blocks behind these spans, grid after grid.
        error: squared error in samples.
    """

    table_set: int
    bits: np.ndarray
    ends: np.ndarray
    error: float

    @property
    def total(self) -> float:
        return float(self.bits.sum())

    def before(self, block: int) -> float:
        """Bits of the blocks before this one."""
        return float(np.interp(block, np.append(0, self.ends), np.append(0, self.bits.cumsum())))


class Chooser:
    """The same step for every section."""

    def __init__(self, step: int) -> None:
        self.step = step

    def accept(self, packer: Packer, section: Section, begin: int, end: int) -> bool:
        return True


class Steering(Chooser):
    """A step for each section such that all of them together just fit a budget.

    What is still to come is foretold by the counts of a step, corrected by how right they were so far.
    """

    def __init__(self, step: int, measures: Sequence[Measure], budget: int) -> None:
        super().__init__(step)
        self.start = step
        self.budget = budget
        self.measures = measures
        self.part = 0
        self.foretold = DOUBT * self.total  # bits of what has been coded, as the counts foretold them at its steps
        self.coded = self.foretold

    @property
    def total(self) -> float:
        return sum(m.total for m in self.measures)

    def accept(self, packer: Packer, section: Section, begin: int, end: int) -> bool:
        size = packer.size_with(section)
        if size > self.budget:
            if self.step + 1 < len(LAYER_STEPS):
                self.step += 1
            return False
        measure = self.measures[self.part]
        bits = measure.before(end) - measure.before(begin)
        self.foretold += bits * exp(-SIZE_PER_STEP * (self.step - self.start))
        self.coded += 8 * len(section.payload)
        left = measure.total - measure.before(end) + sum(m.total for m in self.measures[self.part + 1 :])
        left *= self.coded / self.foretold
        free = 8 * (STEER_TO * self.budget - size)
        if left > 0 and free > 0:
            finer = floor(log(free / left) / SIZE_PER_STEP + STEER_FINER)
            wanted = min(max(self.start - finer, self.step - 1, self.start - STEER_MOST), self.step + 1)
            self.step = min(max(wanted, 0), self.start + STEER_MOST, len(LAYER_STEPS) - 1)
        return True
