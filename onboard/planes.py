"""Pictures to 8-bit planes and back: window, box average, colour, geometry of blocks. FORMAT.md sections 3, 7 and 8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np

from onboard.errors import InputError
from onboard.kernels.enlarge import double, double_deep
from onboard.kernels.sample import box_average, rgb_to_luma, rgb_to_ycc420, ycc_to_rgb
from onboard.wire import BLOCK, MAX_SIDE, STRIPE, Colour, Curve, Description, Window

# The normative enlarger: weights in 1/256 of samples j-2 .. j+1 for the position a quarter left of j (FORMAT.md section
# 8). Between bilinear and Catmull-Rom: best on decoded training pictures at scales 2, 4 and 8.
ENLARGER = np.array((-3, 61, 207, -9), np.int32)
# Y, Cb and Cr from R, G, B and 1, in 1/65536: BT.601 full range (JFIF 1.02 section 2; FORMAT.md section 8.4).
COLOUR = np.array(
    ((19595, 38470, 7471, 32768), (-11059, -21709, 32768, 8421375), (32768, -27439, -5329, 8421375)), np.int32
)
NO_DATA_LEVEL = 8  # with a no-data window, plane values below this say "no data"
VALID_FROM = 16  # and valid samples map to this and above
MAX_KEPT_ORDER = 1 << 20  # blocks
STRIP_ROWS = 64  # least rows of the plane handled at once


@dataclass(frozen=True)
class Phase:
    """One interleave phase of a plane's block grid: every `step`-th block from `row`, `column`."""

    row: int
    column: int
    rows: int
    columns: int


def check_picture(picture: np.ndarray) -> None:
    """Raise InputError unless this is an array, uint8 or uint16, (height, width[, 3]), 1 to 65535 a side."""
    if not isinstance(picture, np.ndarray):
        raise InputError(
            f"picture of type {type(picture).__name__}: must be a numpy array of uint8 or uint16; "
            'np.asarray(image.convert("RGB")) makes one of a Pillow image'
        )
    if picture.dtype not in (np.uint8, np.uint16):
        raise InputError(f"picture of dtype {picture.dtype}: must be uint8 or uint16")
    if not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
        raise InputError(f"picture of shape {picture.shape}: must be (height, width) or (height, width, 3)")
    if not all(1 <= side <= MAX_SIDE for side in picture.shape[:2]):
        raise InputError(f"picture of shape {picture.shape}: both sides must be 1 to {MAX_SIDE}")


def plane_count(colour: Colour) -> int:
    return 3 if colour == Colour.YCBCR420 else 1


def plane_log2(description: Description, plane: int) -> int:
    """A plane is coded at 1/2^n of the picture's size: the scale, and chroma half of that."""
    return description.scale_log2 + (plane > 0)


def plane_shape(description: Description, plane: int) -> tuple[int, int]:
    """(height, width) in samples of a plane as coded, rounded up."""
    return shape_at(description, plane_log2(description, plane))


def shape_at(description: Description, log2: int) -> tuple[int, int]:
    """(height, width) of the picture at 1/2^log2 of its size, rounded up."""
    return _ceil_shift(description.height, log2), _ceil_shift(description.width, log2)


def block_grid(description: Description, plane: int) -> tuple[int, int]:
    """(rows, columns) of a plane in blocks."""
    height, width = plane_shape(description, plane)
    return -(-height // BLOCK), -(-width // BLOCK)


def phases(rows: int, columns: int, interleave_log2: int) -> list[Phase]:
    """The interleave phases of a block grid, in order; an empty phase has no rows or columns."""
    down, across = (2 if interleave_log2 == 2 else 1), (2 if interleave_log2 else 1)
    return [
        Phase(r, c, max(-(-(rows - r) // down), 0), max(-(-(columns - c) // across), 0))
        for r in range(down)
        for c in range(across)
    ]


def raster_grid(columns: int, interleave_log2: int, phase: Phase) -> tuple[int, int, int, int, int]:
    """Where a phase's blocks are in a plane of so many block columns; see kernels.order."""
    down, across = (2 if interleave_log2 == 2 else 1), (2 if interleave_log2 else 1)
    return phase.row * columns + phase.column, down * columns, across, phase.rows, phase.columns


def phase_order(rows: int, columns: int, interleave_log2: int, phase: int) -> np.ndarray:
    """Raster index of every block of a phase, in phase order: stripes 32 blocks wide, row by row within a stripe.

    Returns:
        int32 (phase rows * phase columns,), read-only. Those of pictures up to some 64 MP are kept.
    """
    make = _kept_order if rows * columns <= MAX_KEPT_ORDER else _kept_order.__wrapped__
    return make(rows, columns, interleave_log2, phase)


@lru_cache(maxsize=16)
def _kept_order(rows: int, columns: int, interleave_log2: int, phase: int) -> np.ndarray:
    p = phases(rows, columns, interleave_log2)[phase]
    down, across = (2 if interleave_log2 == 2 else 1), (2 if interleave_log2 else 1)
    grid = (np.arange(p.rows, dtype=np.int32) * down + p.row)[:, None] * columns + (
        np.arange(p.columns, dtype=np.int32) * across + p.column
    )[None, :]
    order = np.concatenate([grid[:, s : s + STRIPE].ravel() for s in range(0, max(p.columns, 1), STRIPE)])
    order.setflags(write=False)
    return order


def base_range(window: Window) -> tuple[int, int]:
    """(darkest plane value of a valid sample, levels above it)."""
    floor = VALID_FROM if window.no_data else 0
    return floor, 255 - floor


@lru_cache(maxsize=4)
def window_table(window: Window) -> np.ndarray:
    """uint8 (65536,) from source sample to plane value: the encoder's half of the window."""
    v = np.arange(65536, dtype=np.int64)
    span = window.high - window.low
    inside = np.clip(v - window.low, 0, span)
    floor, levels = base_range(window)
    if window.curve == Curve.SQRT:
        # levels * sqrt(inside / span), rounded half up, in integers so that every board makes the same table
        roots = [isqrt(4 * levels * levels * i // span) for i in range(span + 1)]
        table = floor + (np.array(roots)[inside] + 1) // 2
    else:
        table = floor + (2 * levels * inside + span) // (2 * span)
    if window.no_data:
        table[0] = 0
    return table.astype(np.uint8)


def window_inverse(window: Window) -> np.ndarray:
    """uint16 (256,) from plane value to source sample: normative, integers only (FORMAT.md section 8)."""
    floor, levels = base_range(window)
    p = np.clip(np.arange(256, dtype=np.int64) - floor, 0, levels)
    span = window.high - window.low
    if window.curve == Curve.SQRT:
        value = window.low + (2 * span * p * p + levels * levels) // (2 * levels * levels)
    else:
        value = window.low + (2 * span * p + levels) // (2 * levels)
    if window.no_data:
        value[:NO_DATA_LEVEL] = 0
    return value.astype(np.uint16)


def choose_window(picture: np.ndarray, curve: Curve, no_data: bool) -> Window:
    """Window over the 0.1 to 99.9 percentiles of a uint16 picture, leaving out zeros when they mean "no data"."""
    counts = np.bincount(picture.ravel()[:: max(picture.size >> 20, 1)], minlength=65536)
    depth = max(int(picture.max()).bit_length(), 9)
    if no_data:
        counts[0] = 0
    below = np.cumsum(counts)
    if below[-1] == 0:
        return Window(depth, curve, no_data, 0, (1 << depth) - 1)
    low = int(np.searchsorted(below, below[-1] * 0.001, side="right"))
    high = int(np.searchsorted(below, below[-1] * 0.999))
    top = (1 << depth) - 1
    return Window(depth, curve, no_data, min(low, top - 1), max(min(high, top), min(low, top - 1) + 1))


def strips(picture: np.ndarray, description: Description) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a picture into plane strips, so that memory beyond the picture is O(width).

    Args:
        picture: as check_picture() asks; an array or a memory map, read once from top to bottom. A colour picture with
            a grey description gives its luma.

    Yields:
        (plane, first block row, uint8 strip (any height that is a multiple of 8 but for the last, width)).
    """
    log2 = description.scale_log2
    table = window_table(description.window) if description.window else None
    if log2 == 0 and picture.ndim == 2 and table is None and picture.flags.c_contiguous:
        yield 0, 0, picture
        return
    rows = max(STRIP_ROWS, 2 * BLOCK) << log2
    for top in range(0, description.height, rows):
        part = np.ascontiguousarray(picture[top : top + rows])
        if table is not None:
            part = table[part]
        if log2:
            part = average(part, log2)
        first = (top >> log2) // BLOCK
        height, width = part.shape[:2]
        if part.ndim == 2:
            yield 0, first, part
            continue
        y = np.empty((height, width), np.uint8)
        if description.colour != Colour.YCBCR420:
            rgb_to_luma(part, COLOUR, y)
            yield 0, first, y
            continue
        cb, cr = (np.empty((_ceil_shift(height, 1), _ceil_shift(width, 1)), np.uint8) for _ in range(2))
        rgb_to_ycc420(part, COLOUR, y, cb, cr)
        yield 0, first, y
        yield 1, first // 2, cb
        yield 2, first // 2, cr


def assemble(full: list[np.ndarray], description: Description) -> np.ndarray:
    """Picture from its planes at full size.

    Args:
        full: uint8 (height, width) arrays, Y first.

    Returns:
        uint8 or (with a window) uint16, (height, width) or (height, width, 3).
    """
    if description.colour == Colour.YCBCR420:
        picture = np.empty((description.height, description.width, 3), np.uint8)
        ycc_to_rgb(*full, picture)
    else:
        picture = full[0]
    return window_inverse(description.window)[picture] if description.window else picture


def enlarge(plane: np.ndarray, description: Description, from_log2: int, to_log2: int = 0) -> np.ndarray:
    """Bring a plane from 1/2^from_log2 of the picture's size to 1/2^to_log2, doubling once per power of two.

    Args:
        plane: uint8, or uint16 at the depth of the source.
    """
    for log2 in range(from_log2 - 1, to_log2 - 1, -1):
        out = np.empty(shape_at(description, log2), plane.dtype)
        if plane.dtype == np.uint16 and description.window:
            double_deep(plane, ENLARGER, (1 << description.window.depth) - 1, out)
        else:
            double(plane, ENLARGER, out)
        plane = out
    return plane


def _ceil_shift(n: int, log2: int) -> int:
    return -(-n >> log2)


def average(part: np.ndarray, log2: int) -> np.ndarray:
    """Means of squares of 2^log2 samples a side, uint8, of a picture or a plane; at its end of what there is."""
    height, width, *channels = part.shape
    shape = (_ceil_shift(height, log2), _ceil_shift(width, log2), *channels)
    out = np.empty(shape, np.uint8)
    box_average(part.reshape(height, -1), channels[0] if channels else 1, log2, out.reshape(shape[0], -1))
    return out
