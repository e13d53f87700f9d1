"""A budget to the grain of a refinement: sizes are told by symbol counts and code lengths, and put right by coding.

The search sees a refinement only as two functions of its grain: bits that are counted, cheaply and about, and packets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from onboard.layer_header import LAYER_STEPS
from onboard.refiner import DEAD_ZONE, WIDEST_DEAD_ZONE, Coefficients, Grain

ENOUGH = 0.98  # of the budget: the search stops there
AIM = 0.993  # of the budget
CODINGS = 8  # at most: hardly ever more than three
COARSEST = len(LAYER_STEPS) - 1

BitsOf = Callable[[Grain], float]


def counted(coefficients: Sequence[Coefficients]) -> BitsOf:
    """Bits of parts by their grain, each counted once."""
    return lru_cache(maxsize=None)(lambda grain: sum(c.measure(grain)[1] for c in coefficients))


def find_step(bits_of: BitsOf, bits: float) -> int:
    """The finest step that counts at most `bits`; the coarsest when none does."""
    return first(0, COARSEST, lambda step: bits_of(Grain(step)) <= bits)


def find_grain(bits_of: BitsOf, bits: float) -> Grain:
    """The finest grain that counts at most `bits`: between two steps, the finer one with a wider dead zone."""
    step = find_step(bits_of, bits)
    if step == 0:
        return Grain(0)
    zone = first(DEAD_ZONE + 1, WIDEST_DEAD_ZONE, lambda zone: bits_of(Grain(step - 1, zone)) <= bits)
    between = Grain(step - 1, zone)
    return between if bits_of(between) <= bits else Grain(step)


def spend(budget: int, start: int, bits_of: BitsOf, make: Callable[[Grain], list[bytes]]) -> tuple[list[bytes], int]:
    """The finest stream of at most `budget` bytes, to a few per cent.

    Args:
        start: the step to code first.
        make: packets of a grain.

    Returns:
        (packets, their bytes); the smallest that was seen when none is small enough.
    """
    made: dict[Grain, list[bytes]] = {}
    sizes: dict[Grain, int] = {}

    def code(grain: Grain) -> int:
        made[grain] = make(grain)
        sizes[grain] = sum(map(len, made[grain]))
        return sizes[grain]

    grain = Grain(start)
    while len(made) < CODINGS and grain not in made:
        size = code(grain)
        if ENOUGH * budget <= size <= budget or (size <= budget and grain == Grain(0)):
            break
        grain = _next(budget, bits_of, sizes)
    while min(sizes.values()) > budget and max(made).step < COARSEST:  # counts know nothing of what packets cost
        code(Grain(max(made).step + 1))
    fitting = [g for g in made if sizes[g] <= budget]
    best = max(fitting, key=lambda g: sizes[g]) if fitting else min(made, key=lambda g: sizes[g])
    return made[best], sizes[best]


def _next(budget: int, bits_of: BitsOf, sizes: dict[Grain, int]) -> Grain:
    """The grain that should just fit, by the sizes seen."""
    aim = AIM * budget
    fits = max((g for g in sizes if sizes[g] <= budget), key=lambda g: sizes[g], default=None)
    above = min((g for g in sizes if sizes[g] > budget), key=lambda g: sizes[g], default=None)
    if fits is not None and above is not None and bits_of(above) > bits_of(fits):
        slope = (bits_of(above) - bits_of(fits)) / (sizes[above] - sizes[fits])
        return find_grain(bits_of, bits_of(fits) + slope * (aim - sizes[fits]))
    near = fits or above
    assert near is not None
    return find_grain(bits_of, bits_of(near) + 8 * (aim - sizes[near]))


def first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from `low` to `high` for which a monotone condition holds; `high` when it does for none."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high
