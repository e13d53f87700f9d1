"""Byte budget to scale, quantiser index and price of a bit: the encoder's own affair, nothing of it is on the wire.

The search sees the encoder only as a `Job` that makes packets. Sizes fall as the index grows, by at most 8 % a step,
and as the price grows, so the index is found first and the price then uses up the last bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Protocol

from onboard.errors import BudgetError
from onboard.wire import MAX_INDEX, MAX_SCALE_LOG2

ENOUGH = 0.985  # of the budget: the search stops there
MIDDLE = (1 + ENOUGH) / 2
MAX_PRICE = 255
SIZE_PER_INDEX = 0.025  # a stream grows by about this much per finer index: how far to jump
CLOSE_INDICES = 4  # so near an index that fits, one that is a little too fine need not be told from its neighbours
START_INDEX = 132
PRICE_PROBES = 7
PRICE_GUESSES = 4  # of these; the others halve what is left
SIZE_PER_PRICE = 0.15  # a stream shrinks by that power of the price, about: how far to jump
FINER_TRIES = 16  # indices; only drawings of a few flat tones need more than one
PACKET_OVERHEAD = 24  # about; only for guesses
SAMPLE_LEAST = 400  # bytes below which a sample says too little
START_BPP = 0.02  # per coded pixel: a finer scale than one that gets this is never worth trying
HALVE_FROM = 128  # index from which half the size may be better (on training pictures hardly ever below)
HALF_HANDICAP = 1.08  # neighbour-aware decoding gains more at the finer scale than the plain errors compared here show


class Job(Protocol):
    """What the search needs to know of an encoder."""

    @property
    def pixels(self) -> int: ...

    @property
    def overhead(self) -> int: ...

    def packets(self, scale_log2: int, index: int, price: int | None = None) -> list[bytes]: ...

    def sample(self) -> Job: ...

    def source_share(self, budget: int) -> float: ...


# (job, packets, scale) -> squared error of the luma that the packets decode to, at that scale
ErrorOf = Callable[[Job, list[bytes], int], float]


@dataclass(frozen=True)
class Choice:
    """A stream and how it was made; `price` None is the model's own. Every packet costs its bytes and an overhead."""

    scale_log2: int
    index: int
    price: int | None
    packets: list[bytes]
    overhead: int = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.packets)) + self.overhead * len(self.packets)


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
        scale_log2, guess = _choose_scale(sample, sample_budget, error)
    else:
        guess = START_INDEX
        if sample is not job:
            guess = _closest(*_search_index(sample, sample_budget, scale_log2, START_INDEX), sample_budget)
    best, over = _search_index(job, budget, scale_log2, guess)
    if best.size > budget:
        raise BudgetError(budget, best.size)
    if over is None or best.size >= ENOUGH * budget:
        return best
    return _spend_rest(job, budget, best, over, own_price)


def _search_index(job: Job, budget: int, scale_log2: int, guess: int) -> tuple[Choice, Choice | None]:
    """The finest index known to fit (the coarsest, too large, when none does), and the coarsest known to be too fine.

    The two are neighbours, or the second one is so little too large that a dearer price makes it fit.
    """
    made: dict[int, Choice] = {}
    fits, too_fine = MAX_INDEX + 1, -1
    index = guess
    while fits - too_fine > 1:
        made[index] = choice = Choice(scale_log2, index, None, job.packets(scale_log2, index), job.overhead)
        if choice.size <= budget:
            fits = index
            if choice.size >= ENOUGH * budget:
                break
        else:
            too_fine = index
            close = fits <= MAX_INDEX and fits - index <= CLOSE_INDICES
            if index == MAX_INDEX or (close and choice.size <= (1 + SIZE_PER_INDEX) * budget):
                break
        jump = round(log(choice.size / budget) / SIZE_PER_INDEX)
        jump = max(jump, 1) if choice.size > budget else min(jump, -1)
        index = min(max(index + jump, too_fine + 1), fits - 1)
    return made[min(fits, MAX_INDEX)], made.get(too_fine)


def _closest(best: Choice, over: Choice | None, budget: int) -> int:
    """The index, of two between which a budget lies, whose size is closer to it."""
    return over.index if over is not None and over.size / budget < budget / best.size else best.index


def _choose_scale(job: Job, budget: int, error: ErrorOf) -> tuple[int, int]:
    """(scale, first guess of the index): halve the size as long as that lowers the error at the same bytes."""
    scale_log2 = 0
    while scale_log2 < MAX_SCALE_LOG2 and 8 * budget * 4**scale_log2 < START_BPP * job.pixels:
        scale_log2 += 1
    here, over = _search_index(job, budget, scale_log2, START_INDEX)
    while scale_log2 < MAX_SCALE_LOG2 and here.index >= HALVE_FROM:
        half, half_over = _search_index(job, budget, scale_log2 + 1, max(here.index - 50, 0))
        if half.size > here.size and half.size > budget:
            break
        if here.size <= budget:
            own, halved = (error(job, c.packets, scale_log2) for c in (here, half))
            if own <= HALF_HANDICAP * halved:
                break
        here, over = half, half_over
        scale_log2 += 1
    return scale_log2, _closest(here, over, budget)


def _spend_rest(job: Job, budget: int, best: Choice, over: Choice, own_price: int) -> Choice:
    """Use up what is left of the budget: a dearer price at a finer index, or a cheaper one at the index that fits."""
    finest = max(over.index - FINER_TRIES, -1)
    finer = [(i, own_price, MAX_PRICE) for i in range(over.index, finest, -1)]
    for index, cheap, dear in (*finer[:1], (best.index, 0, own_price), *finer[1:]):
        too_cheap, fits = cheap, dear
        last, last_size = own_price, over.size * exp(SIZE_PER_INDEX * (over.index - index))
        for left in range(PRICE_PROBES, 0, -1):
            if fits - too_cheap <= 1 or best.size >= ENOUGH * budget:
                break
            price = (too_cheap + fits) // 2
            if left > PRICE_PROBES - PRICE_GUESSES:
                guess = last * exp(log(last_size / (MIDDLE * budget)) / SIZE_PER_PRICE)
                price = min(max(round(guess), too_cheap + 1), fits - 1)
            packets = job.packets(best.scale_log2, index, price)
            probe = Choice(best.scale_log2, index, price, packets, job.overhead)
            last, last_size = max(price, 1), probe.size
            if probe.size > budget:
                too_cheap = price
            else:
                fits = price
                if probe.size > best.size:
                    best = probe
    return best
