"""Bars and frames around a picture, which the decoders for display leave alone.

Where there is no data, and in bars around a picture of another shape, all is black or white, and this often ends
exactly where blocks end. Decoded plainly it is one tone to the last pixel. The decoders for display would take its edge
for one that coarse coding has made and smooth it, and what they make of the picture beside it would suffer as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from onboard.decoder import PlaneLatents
from onboard.ground.features import Area, pixels
from onboard.planes import enlarge, shape_at
from onboard.wire import BLOCK, Description

FAINT = 8  # levels that black or white may be off
LEAST_JUMP = 16  # levels
MOST = 0.5  # share of the pixels along an edge that must be so far off the tone beside them


def inside_margins(latents: PlaneLatents, detailed: np.ndarray, plain: Callable[[], np.ndarray]) -> Area:
    """The blocks of a plane of luma that its margins leave: all of them where it has none, at least one.

    A margin is rows or columns of blocks along a side, black or white and without detail, from which the very pixels
    beside them differ clearly: a night sky does not end so, nor does a frame that ends within blocks.

    Args:
        detailed: bool (rows * columns,), whether more than layer 0 has come of a block. Of others nobody knows what
            lies within.
        plain: gives the plane as decoded plainly, uint8 (8 * rows, 8 * columns); asked only if it may have margins.
    """
    grid = latents.rows, latents.columns
    first, flat, known = latents.first.reshape(grid), latents.group.reshape(grid) == 0, detailed.reshape(grid)
    inside = whole_area(grid)
    sides = (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:])
    if not any((flat[side] & (first[side] == first[side][0, 0])).all() for side in sides):
        return inside
    plane = plain()
    for _ in range(2):  # a bar may show only when those across it are gone
        for turned in (False, True):
            seen = [first[inside], flat[inside], known[inside], plane[pixels(inside, BLOCK)]]
            left = _between(*(a.T for a in seen) if turned else seen)
            start = inside[turned].start
            cut = slice(start + left.start, start + left.stop)
            inside = (inside[0], cut) if turned else (cut, inside[1])
    return inside


def whole_area(grid: tuple[int, int]) -> Area:
    """All blocks of a grid of (rows, columns)."""
    return slice(0, grid[0]), slice(0, grid[1])


def enlarge_inside(
    plane: np.ndarray, inside: Area, side: int, description: Description, from_log2: int, to_log2: int = 0
) -> np.ndarray:
    """enlarge() of a plane as if what its margins leave were all of it; they keep their tone up to their last pixel.

    Args:
        plane: uint8, whole or cut off at the picture's end.
        inside: blocks of side x side samples of it.
    """
    full = side << from_log2  # pixels of a block's side
    height, width = (
        min(end, full * part.stop) - full * part.start
        for end, part in zip((description.height, description.width), inside, strict=True)
    )
    if (height, width) == (description.height, description.width):
        return enlarge(plane, description, from_log2, to_log2)
    times = 1 << from_log2 - to_log2
    cut = np.ascontiguousarray(plane[pixels(inside, side)])
    end = shape_at(description, to_log2)
    out = plane.repeat(times, 0).repeat(times, 1)[: end[0], : end[1]]
    out[pixels(inside, side * times)] = enlarge(
        cut, replace(description, height=height, width=width), from_log2, to_log2
    )
    return out


def _between(first: np.ndarray, flat: np.ndarray, known: np.ndarray, plane: np.ndarray) -> slice:
    """The rows of blocks between what is margin at the top and at the bottom."""
    top = _depth(first, flat, known, plane)
    return slice(
        top, len(first) - _depth(first[top:][::-1], flat[top:][::-1], known[top:][::-1], plane[BLOCK * top :][::-1])
    )


def _depth(first: np.ndarray, flat: np.ndarray, known: np.ndarray, plane: np.ndarray) -> int:
    """How many rows of blocks are margin at the top."""
    depth = int((flat & (first == first[0, 0])).all(1).argmin())  # 0 where all rows are of one tone
    if depth == 0:
        return 0
    beside = BLOCK * depth
    further = min(beside + BLOCK + BLOCK // 2, len(plane) - 1)  # in the block behind: one with an edge may be flat
    tone, edge, behind = (plane[y].astype(np.int32) for y in (beside - 1, beside, further))
    jump = np.abs(edge - tone)
    extreme = (tone <= FAINT).all() or (tone >= 255 - FAINT).all()
    ends_here = jump.sum() > np.abs(behind - edge).sum()
    clear = (jump >= LEAST_JUMP) & known[depth].repeat(BLOCK)
    return depth if extreme and ends_here and clear.mean() >= MOST else 0
