"""A budget to the grain of a refinement: sizes are told by symbol counts and code lengths, and put right by coding.

The search sees a refinement only as two functions of its grain: bits that are counted, cheaply and about, and packets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Protocol

from onboard.layer_header import LAYER_STEPS
from onboard.refiner import DEAD_ZONE, WIDEST_DEAD_ZONE, Grain, PartCoder

ENOUGH = 0.98  # of the budget: the search stops there
AIM = 0.993  # of the budget
CODINGS = 8  # at most: hardly ever more than three
START_STEP = 80  # some 0.5 bits per pixel of a photo
COARSEST = len(LAYER_STEPS) - 1
SIZE_PER_STEP, FIRST_STRIDE = 0.04, 16  # a refinement grows by about this much per finer step: how far to jump
FIRST_WIDENING = 48  # of the dead zone
ZONE_TRIES = 6
GOOD_STEP = 0.989  # of the bits asked for: a step alone that takes so many is better than a wider dead zone
CLOSE, CENTRE = 0.994, 0.997  # of the bits asked for: where the search for a dead zone stops, and what it aims at

LEAST_USED, MOST_LEFT, BLENDS = 0.97, 64, 6  # of the budget, bytes: else grains are blended; tries

BitsOf = Callable[[Grain], float]


class Make(Protocol):
    """Packets of a grain, of a share of the blocks those of a finer one."""

    def __call__(self, grain: Grain, finer: Grain | None = None, share: float = 0.0) -> list[bytes]: ...


def counted(parts: Sequence[PartCoder]) -> BitsOf:
    """Bits of parts by their grain."""
    return lambda grain: sum(part.measure(grain)[0] for part in parts)


def find_step(bits_of: BitsOf, bits: float, guess: int) -> int:
    """The finest step that counts at most `bits`; the coarsest when none does."""
    if bits <= 0:
        return COARSEST
    counted_bits: dict[int, float] = {}
    too_fine, fits = -1, COARSEST
    step, stride = min(guess, COARSEST - 1), FIRST_STRIDE
    while fits - too_fine > 1:
        counted_bits[step] = max(bits_of(Grain(step)), 1)
        if counted_bits[step] <= bits:
            fits = step
        else:
            too_fine = step
        if fits in counted_bits and too_fine in counted_bits:  # between two: by the logarithm, but off their ends
            high, low = log(counted_bits[too_fine] / bits), log(counted_bits[fits] / bits)
            margin = (fits - too_fine) / 8
            step = round(too_fine + min(max((fits - too_fine) * high / (high - low), margin), fits - too_fine - margin))
        else:
            jump = max(round(abs(log(counted_bits[step] / bits)) / SIZE_PER_STEP), 1)
            step += min(jump, stride) * (-1 if step == fits else 1)
            stride *= 2
        step = min(max(step, too_fine + 1), fits - 1)
    return fits


def find_grain(bits_of: BitsOf, bits: float, guess: int) -> Grain:
    """About the finest grain that counts at most `bits`: a step, or the next finer one with a wider dead zone."""
    step = find_step(bits_of, bits, guess)
    best = Grain(step)
    if step == 0 or bits <= 0 or bits_of(best) >= GOOD_STEP * bits:
        return best
    narrow, wide, zone = DEAD_ZONE, WIDEST_DEAD_ZONE + 1, DEAD_ZONE + FIRST_WIDENING
    most = bits_of(Grain(step - 1))
    for _ in range(ZONE_TRIES):
        grain = Grain(step - 1, zone)
        found = bits_of(grain)
        if found <= bits:
            best, wide = grain, zone
            if found >= CLOSE * bits:
                break
        else:
            narrow = zone
        if wide - narrow <= 1:
            break
        slope = max(log(most / max(found, 1)), 1e-6) / (zone - DEAD_ZONE)
        zone = min(max(zone + round(log(max(found, 1) / (CENTRE * bits)) / slope), narrow + 1), wide - 1)
    return best


def spend(
    budget: int,
    start: Grain,
    bits_of: BitsOf,
    make: Make,
    size_of: Callable[[list[bytes]], int],
) -> tuple[list[bytes], int]:
    """The finest stream of at most `budget` bytes, to a few per cent.

    Args:
        start: the grain to code first.
        size_of: what packets cost, with their framing.

    Returns:
        (packets, their bytes); the smallest that was seen when none is small enough.
    """
    made: dict[Grain, list[bytes]] = {}
    sizes: dict[Grain, int] = {}

    def code(grain: Grain) -> int:
        made[grain] = make(grain)
        sizes[grain] = size_of(made[grain])
        return sizes[grain]

    grain = start
    while len(made) < CODINGS and grain not in made:
        size = code(grain)
        if ENOUGH * budget <= size <= budget or (size <= budget and grain == Grain(0)):
            break
        grain = _next(budget, bits_of, sizes)
    while min(sizes.values()) > budget and max(made).step < COARSEST:  # counts know nothing of what packets cost
        code(Grain(max(made).step + 1))
    if min(sizes.values()) > budget:
        best = min(made, key=lambda g: sizes[g])
        return made[best], sizes[best]
    enough = min(LEAST_USED * budget, budget - MOST_LEFT)
    while True:
        best = max(sorted(g for g in made if sizes[g] <= budget), key=lambda g: sizes[g])  # the finest of a size
        above = min((g for g in made if sizes[g] > budget), key=lambda g: sizes[g], default=None)
        finer = Grain(best.step) if best.dead_zone > DEAD_ZONE else Grain(max(best.step - 1, 0))
        if sizes[best] >= enough or above is not None or finer in made:
            break
        code(finer)
    if sizes[best] < enough and above is not None:
        return _blend(budget, (best, made[best], sizes[best]), (above, sizes[above]), make, size_of)
    return made[best], sizes[best]


def _blend(
    budget: int,
    fits: tuple[Grain, list[bytes], int],
    above: tuple[Grain, int],
    make: Make,
    size_of: Callable[[list[bytes]], int],
) -> tuple[list[bytes], int]:
    """Between two grains of which one fits and there is none: the finer one for as many blocks as the budget allows."""
    grain, packets, size = fits
    finer, most = above
    low, high, least = 0.0, 1.0, size
    for _ in range(BLENDS):
        margin = (high - low) / 8
        share = low + min(max((high - low) * (AIM * budget - least) / (most - least), margin), high - low - margin)
        found = make(grain, finer, share)
        if (its := size_of(found)) > budget:
            high, most = share, its
            continue
        low, least = share, its
        if its > size:
            packets, size = found, its
        if size >= ENOUGH * budget:
            break
    return packets, size


def _next(budget: int, bits_of: BitsOf, sizes: dict[Grain, int]) -> Grain:
    """The grain that should just fit, by the sizes seen."""
    aim = AIM * budget
    fits = max((g for g in sizes if sizes[g] <= budget), key=lambda g: sizes[g], default=None)
    above = min((g for g in sizes if sizes[g] > budget), key=lambda g: sizes[g], default=None)
    if fits is not None and above is not None and bits_of(above) > bits_of(fits):
        slope = (bits_of(above) - bits_of(fits)) / (sizes[above] - sizes[fits])
        return find_grain(bits_of, bits_of(fits) + slope * (aim - sizes[fits]), fits.step)
    near = fits or above
    assert near is not None
    return find_grain(bits_of, bits_of(near) + 8 * (aim - sizes[near]), near.step)


def first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from `low` to `high` for which a monotone condition holds; `high` when it does for none."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high
