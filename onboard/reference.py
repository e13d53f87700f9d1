"""What the higher layers build on: the base's normative reconstruction, whole or of a region. FORMAT.md section 11.3.

Used by both sides: what the encoder subtracts is what the decoder adds to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onboard.depth import to_depth
from onboard.errors import SectionError
from onboard.kernels.enlarge import double
from onboard.kernels.foretell import foretell
from onboard.kernels.synthesise import synthesise
from onboard.model import Model
from onboard.planes import ENLARGER, phase_order, phases, plane_shape, shape_at
from onboard.wire import BLOCK, STRIPE, Description


@dataclass(frozen=True)
class Rect:
    """Blocks `top` to `bottom - 1`, `left` to `right - 1` of a grid."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> int:
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        return self.right - self.left

    def samples(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of samples of a plane of this size."""
        return (
            slice(BLOCK * self.top, min(BLOCK * self.bottom, height)),
            slice(BLOCK * self.left, min(BLOCK * self.right, width)),
        )


def layer_log2(plane: int) -> int:
    """Layers 2 to 14 code a plane at 1/2^n of the picture's size whatever the scale: chroma at half."""
    return int(plane > 0)


def layer_shape(description: Description, plane: int) -> tuple[int, int]:
    """(height, width) in samples of a plane in layers 2 to 14."""
    return shape_at(description, layer_log2(plane))


def layer_grid(description: Description, plane: int) -> tuple[int, int]:
    """(rows, columns) in blocks of a plane in layers 2 to 14."""
    height, width = layer_shape(description, plane)
    return -(-height // BLOCK), -(-width // BLOCK)


BAD_REGION = -4


@dataclass(frozen=True)
class SectionGrid:
    """The grid that a section of a higher layer runs through: a phase, or some columns of one of its stripes.

    Attributes:
        rows, columns: its size in blocks.
        order: int32 raster index of every block, in the section's order.
        origin: of a region, the phase-order number of its first block; else 0.
        left: of a region, its first column within the stripe, None for a phase.
        width: of a region, the stripe's width.
    """

    rows: int
    columns: int
    order: np.ndarray
    origin: int = 0
    left: int | None = None
    width: int = 0

    @property
    def span(self) -> int | None:
        """Columns of a region, None for a phase."""
        return None if self.left is None else self.columns

    def number(self, local: int) -> int:
        """Phase-order number of a block of this grid."""
        if self.left is None:
            return local
        row, column = divmod(local, self.columns)
        return self.origin + row * self.width + column


def phase_grid(shape: tuple[int, int], interleave_log2: int, phase: int) -> SectionGrid:
    """All of a phase of a block grid of `shape`."""
    p = phases(*shape, interleave_log2)[phase]
    return SectionGrid(p.rows, p.columns, phase_order(*shape, interleave_log2, phase))


def region_grid(shape: tuple[int, int], interleave_log2: int, phase: int, stripe: int, rect: Rect) -> SectionGrid:
    """A rectangle of blocks of a stripe of a phase; columns count within the stripe."""
    p = phases(*shape, interleave_log2)[phase]
    width = min(STRIPE, p.columns - STRIPE * stripe)
    down, across = (2 if interleave_log2 == 2 else 1), (2 if interleave_log2 else 1)
    columns = p.column + across * (STRIPE * stripe + np.arange(rect.left, rect.right, dtype=np.int32))
    rows = p.row + down * np.arange(rect.top, rect.bottom, dtype=np.int32)
    order = (rows[:, None] * shape[1] + columns).ravel()
    order.setflags(write=False)  # like that of a phase, for which kernels are compiled
    origin = STRIPE * p.rows * stripe + rect.top * width + rect.left
    return SectionGrid(rect.rows, rect.columns, order, origin, rect.left, width)


def find_grid(
    shape: tuple[int, int], interleave_log2: int, phase: int, first: int, left: int | None, span: int | None
) -> tuple[SectionGrid, int]:
    """The grid of a section and its first block's place in it. Raises SectionError."""
    grids = phases(*shape, interleave_log2)
    if phase >= len(grids) or first >= grids[phase].rows * grids[phase].columns:
        raise SectionError(BAD_REGION)
    if left is None or span is None:
        return phase_grid(shape, interleave_log2, phase), first
    rows, columns = grids[phase].rows, grids[phase].columns
    stripe = first // (STRIPE * rows)
    width = min(STRIPE, columns - STRIPE * stripe)
    top, column = divmod(first - STRIPE * rows * stripe, width)
    if left + span > width or not left <= column < left + span:
        raise SectionError(BAD_REGION)
    found = region_grid(shape, interleave_log2, phase, stripe, Rect(top, rows, left, left + span))
    return found, column - left


def whole(description: Description, plane: int) -> Rect:
    rows, columns = layer_grid(description, plane)
    return Rect(0, rows, 0, columns)


def reference_plane(
    description: Description,
    model: Model,
    plane: int,
    latents: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: int,
    rect: Rect,
) -> np.ndarray:
    """The base's reconstruction of some blocks at the size of the higher layers and the depth of the source.

    Args:
        latents: first int16 (blocks,), rest int16 (blocks, 8) and group uint8 (blocks,) of the whole base plane, the
            prediction added.
        columns: of the base's block grid.
        rect: which blocks, in the grid of the higher layers.

    Returns:
        uint8 or (with a window) uint16 samples of the rectangle, cropped at the plane's edges.
    """
    first, rest, group = latents
    rows = len(first) // columns
    base = _base_rect(description, rect, rows, columns)
    if base.rows == rows and base.columns == columns:
        part = first, rest, group
    else:
        grid = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
        chosen = grid[base.top : base.bottom, base.left : base.right].ravel()
        part = first[chosen], rest[chosen], group[chosen]
    pixels = np.empty((BLOCK * base.rows, BLOCK * base.columns), np.uint8)
    added = np.zeros_like(model.prediction_matrix)  # the latents have it
    synthesise(*part, base.columns, added, *model.decoder_arrays, pixels)
    return _at_layer_size(pixels, description, plane, base, rect)


def foretold_plane(
    description: Description, model: Model, plane: int, first: np.ndarray, columns: int, rect: Rect
) -> np.ndarray:
    """The same of what layer 0 alone foretells: all blocks are of group 2 and have no residuals.

    Args:
        first: int16 (blocks,) of the whole base plane.
    """
    rows = len(first) // columns
    base = _base_rect(description, rect, rows, columns)
    top, left = max(base.top - 1, 0), max(base.left - 1, 0)  # the blocks around foretell too
    near = first.reshape(rows, columns)[top : base.bottom + 1, left : base.right + 1]
    pixels = np.empty((BLOCK * near.shape[0], BLOCK * near.shape[1]), np.uint8)
    foretell(near.ravel(), near.shape[1], model.prediction_matrix, *model.decoder_arrays[2:], pixels)
    y, x = BLOCK * (base.top - top), BLOCK * (base.left - left)
    pixels = pixels[y : y + BLOCK * base.rows, x : x + BLOCK * base.columns]
    return _at_layer_size(pixels, description, plane, base, rect)


def _base_rect(description: Description, rect: Rect, rows: int, columns: int) -> Rect:
    """The blocks of a base plane of this size that a rectangle of the higher layers needs."""
    log2 = description.scale_log2
    margin = 1 if log2 else 0
    return Rect(
        max((rect.top >> log2) - margin, 0),
        min(-(-rect.bottom >> log2) + margin, rows),
        max((rect.left >> log2) - margin, 0),
        min(-(-rect.right >> log2) + margin, columns),
    )


def _at_layer_size(pixels: np.ndarray, description: Description, plane: int, base: Rect, rect: Rect) -> np.ndarray:
    """A rectangle of the higher layers from the base's pixels around it."""
    height, width = plane_shape(description, plane)
    y, x = base.samples(height, width)
    pixels = pixels[: y.stop - y.start, : x.stop - x.start]
    top, left = y.start, x.start
    for to_log2 in range(layer_log2(plane) + description.scale_log2 - 1, layer_log2(plane) - 1, -1):
        top, left = 2 * top, 2 * left
        height, width = shape_at(description, to_log2)
        pixels = _double(pixels, min(2 * pixels.shape[0], height - top), min(2 * pixels.shape[1], width - left))
    y, x = rect.samples(*layer_shape(description, plane))
    pixels = pixels[y.start - top : y.stop - top, x.start - left : x.stop - left]
    return to_depth(description.window, plane)[pixels] if description.window else np.ascontiguousarray(pixels)


def _double(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """One doubling of the normative enlarger."""
    out = np.empty((height, width), np.uint8)
    double(pixels, ENLARGER, out)
    return out


def depth_of(description: Description) -> int:
    """Bits of a source sample."""
    return description.window.depth if description.window else 8


def work_kind(depth: int) -> np.ndarray:
    """Tells kernels what to transform with: an empty array of a dtype that is wide enough for the depth."""
    return np.empty(0, np.int32 if depth <= 8 else np.int64)


def value_limit(depth: int) -> int:
    """Largest coefficient in sixteenths."""
    return (1 << (depth + 7)) - 1
