"""Byte budget to scale, quantiser index and price of a bit: the encoder's own affair, nothing of it is on the wire.

The search sees the encoder only as a `Job` that makes packets. Sizes fall as the index grows, by at most 8 % a step,
and as the price grows, by less: a *level* is an index and, as its fraction, how far the price has gone from the model's
own to where the next index would be as small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Protocol

from onboard.errors import BudgetError
from onboard.wire import MAX_INDEX, MAX_SCALE_LOG2

ENOUGH = 0.98  # of the budget: the search stops there
MIDDLE = (1 + ENOUGH) / 2
MAX_PRICE = 255
SIZE_PER_INDEX = 0.025  # a stream grows by about this much per finer index: how far to jump
LEAST_SLOPE, MOST_SLOPE = 0.008, 0.05  # what two streams are believed of that
SIZE_PER_PRICE = 0.15  # a stream shrinks by that power of the price, about
PRICE_PER_LEVEL = SIZE_PER_INDEX / SIZE_PER_PRICE  # by which its logarithm grows
LEAST_JUMP = 0.3  # levels
CLOSEST_LEVELS = 0.2  # apart: between nearer ones there is nothing to be found
START_LEVEL = 132.0
MOST_PROBES = 32  # of prices
PRICE_PROBES = 7  # of these at an index
PRICE_GUESSES = 4  # of those; the others halve what is left
FINER_TRIES = 16  # indices; only drawings of a few flat tones need more than one
PACKET_OVERHEAD = 24  # about; only for guesses
SAMPLE_LEAST = 400  # bytes below which a sample says too little
START_BPP = 0.02  # per coded pixel: a finer scale than one that gets this is never worth trying
HALVE_FROM = 128  # index from which half the size may be better (on training pictures hardly ever below)
HALVED_LEVELS = 50  # by which half the size is finer at the same bytes, about
HALF_HANDICAP = 1.01  # the ground gains a little more at the finer scale than the errors compared here show


class Job(Protocol):
    """What the search needs to know of an encoder."""

    @property
    def pixels(self) -> int: ...

    @property
    def overhead(self) -> int: ...

    def packets(self, scale_log2: int, index: int, price: int | None = None) -> list[bytes]: ...

    def sample(self) -> Job: ...

    def source_share(self, budget: int) -> float: ...


# (job, packets, scale) -> squared error of about what the ground will show of the packets' luma, at that scale
ErrorOf = Callable[[Job, list[bytes], int], float]


@dataclass(frozen=True)
class Choice:
    """A stream and how it was made. Every packet costs its bytes and an overhead."""

    scale_log2: int
    index: int
    price: int
    packets: list[bytes]
    overhead: int = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.packets)) + self.overhead * len(self.packets)

    def level(self, own_price: int) -> float:
        """Where between indices it stands."""
        return self.index + log(self.price / own_price) / PRICE_PER_LEVEL


def fit_budget(job: Job, budget: int, scale_log2: int | None, own_price: int, error: ErrorOf) -> Choice:
    """The best stream of at most `budget` bytes.

    Args:
        job: what to code.
        budget: bytes.
        scale_log2: the scale to use, None to choose.
        own_price: the model's price of a bit.
        error: tells which of two scales is better.

    Raises:
        BudgetError: no stream is that small; it names the smallest.
    """
    sample = job.sample()
    share = sample.pixels / job.pixels * (1 if sample is job else job.source_share(budget))
    sample_budget = int((budget - PACKET_OVERHEAD) * share) + PACKET_OVERHEAD
    if sample_budget < SAMPLE_LEAST:
        sample, sample_budget = job, budget
    if scale_log2 is None:
        best, over = _choose_scale(sample, sample_budget, own_price, error)
    else:
        best, over = _search(sample, sample_budget, scale_log2, START_LEVEL, own_price)
    if sample is not job:
        level = _guess(best, over, sample_budget, own_price)
        best, over = _search(job, budget, best.scale_log2, level, own_price)
    if best.size > budget:
        raise BudgetError(budget, best.size)
    if over is None or best.size >= ENOUGH * budget:
        return best
    return _spend_rest(job, budget, best, over, own_price)


def _at(level: float, own_price: int) -> tuple[int, int]:
    """Index and price of a level."""
    index = int(level)
    return index, round(own_price * exp(PRICE_PER_LEVEL * (level - index)))


def _search(job: Job, budget: int, scale_log2: int, level: float, own_price: int) -> tuple[Choice, Choice | None]:
    """The finest stream known to fit (the coarsest, too large, when none does), and the coarsest known to be too fine.

    The first takes enough of the budget, or the two are neighbours.
    """
    best: Choice | None = None
    over: Choice | None = None
    last: tuple[float, float] | None = None
    fits, too_fine, slope = MAX_INDEX + 1.0, -1.0, SIZE_PER_INDEX
    level = min(max(level, 0.0), float(MAX_INDEX))
    while True:
        index, price = _at(level, own_price)
        if any(c is not None and (c.index, c.price) == (index, price) for c in (best, over)):
            break
        choice = Choice(scale_log2, index, price, job.packets(scale_log2, index, price), job.overhead)
        excess = log(choice.size / (MIDDLE * budget))
        if choice.size <= budget:
            fits, least, best = level, excess, choice
            if level == 0 or choice.size >= ENOUGH * budget:
                break
        else:
            too_fine, most, over = level, excess, choice
            if level == MAX_INDEX:
                break
        if fits - too_fine <= CLOSEST_LEVELS:
            break
        if best is None or over is None:
            if last is not None:
                slope = min(max((last[1] - excess) / (level - last[0]), LEAST_SLOPE), MOST_SLOPE)
            last = level, excess
            level += max(abs(excess) / slope, LEAST_JUMP) * (1 if best is None else -1)
            level = min(max(level, 0.0), float(MAX_INDEX))
        else:
            margin = (fits - too_fine) / 8
            level = too_fine + (fits - too_fine) * most / (most - least)
            level = min(max(level, too_fine + margin), fits - margin)
    found = best or over
    assert found is not None
    return found, over


def _guess(best: Choice, over: Choice | None, budget: int, own_price: int) -> float:
    """About the level at which a stream takes a budget, by the one of two that is closer to it."""
    near = over if over is not None and over.size / budget < budget / best.size else best
    return near.level(own_price) + log(near.size / (MIDDLE * budget)) / SIZE_PER_INDEX


def _choose_scale(job: Job, budget: int, own_price: int, error: ErrorOf) -> tuple[Choice, Choice | None]:
    """What `_search` finds at the best scale: the size is halved as long as that lowers the error at the same bytes."""
    scale_log2 = 0
    while scale_log2 < MAX_SCALE_LOG2 and 8 * budget * 4**scale_log2 < START_BPP * job.pixels:
        scale_log2 += 1
    here, over = _search(job, budget, scale_log2, START_LEVEL, own_price)
    while scale_log2 < MAX_SCALE_LOG2 and here.index >= HALVE_FROM:
        half, half_over = _search(job, budget, scale_log2 + 1, here.index - HALVED_LEVELS, own_price)
        if half.size > here.size and half.size > budget:
            break
        if here.size <= budget:
            own, halved = (error(job, c.packets, scale_log2) for c in (here, half))
            if own <= HALF_HANDICAP * halved:
                break
        here, over = half, half_over
        scale_log2 += 1
    return here, over


def _spend_rest(job: Job, budget: int, best: Choice, over: Choice, own_price: int) -> Choice:
    """Use up what is left of the budget: a dearer price at a finer index, or a cheaper one at the index that fits."""
    if over.index == best.index:
        ranges = [(best.index, over.price, best.price)]
    else:
        ranges = [(over.index, over.price, MAX_PRICE), (best.index, 0, best.price)]
    ranges += [(i, own_price, MAX_PRICE) for i in range(over.index - 1, max(over.index - FINER_TRIES, -1), -1)]
    probes = 0
    for index, cheap, dear in ranges:
        too_cheap, fits = cheap, dear
        last, last_size = over.price, over.size * exp(SIZE_PER_INDEX * (over.index - index))
        sizes: set[int] = set()
        for left in range(PRICE_PROBES, 0, -1):
            if fits - too_cheap <= 1 or best.size >= ENOUGH * budget or probes == MOST_PROBES:
                break
            price = (too_cheap + fits) // 2
            if left > PRICE_PROBES - PRICE_GUESSES:
                guess = last * exp(log(last_size / (MIDDLE * budget)) / SIZE_PER_PRICE)
                price = min(max(round(guess), too_cheap + 1), fits - 1)
            packets = job.packets(best.scale_log2, index, price)
            probe = Choice(best.scale_log2, index, price, packets, job.overhead)
            probes += 1
            last, last_size = price, probe.size
            if probe.size > budget:
                too_cheap = price
            else:
                fits = price
                if probe.size > best.size:
                    best = probe
            if probe.size in sizes and left <= PRICE_PROBES - PRICE_GUESSES:
                break  # between two prices there is but a leap
            sizes.add(probe.size)
    return best
