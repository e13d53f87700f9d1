"""The operator's loop, on board: only what a finer picture, or regions of it, need beside what has been sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onboard.decoder import Decoding
from onboard.errors import BudgetError, InputError
from onboard.layer_header import FIRST_REFINEMENT, LAST_REFINEMENT, NORMATIVE
from onboard.pace import blend
from onboard.packer import Packer
from onboard.planes import plane_count
from onboard.reference import Rect, layer_shape
from onboard.refiner import Grain, Part, PartCoder, lossless_planes, lossless_sections, source_planes
from onboard.spend import AIM, START_STEP, counted, find_grain, spend
from onboard.wire import BLOCK, MAX_PACKET, Colour, Extension

Region = tuple[int, int, int, int]  # x, y, width, height in samples
SECTION_OVERHEAD = 12  # bytes, about


@dataclass(frozen=True)
class Request:
    """What to send beside a base.

    Attributes:
        picture: the whole source picture, an array or a memory map; only the regions of it are read.
        base: what has been sent, decoded.
        index: quantiser index of the base.
        regions: empty for the whole picture.
    """

    picture: np.ndarray
    base: Decoding
    index: int
    regions: Sequence[Region] = ()
    packet_size: int = MAX_PACKET
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        d = self.base.description
        if self.picture.shape[:2] != (d.height, d.width):
            raise InputError(
                f"picture of {self.picture.shape[1]}x{self.picture.shape[0]}, what was sent has {d.width}x{d.height}"
            )
        if (self.picture.dtype == np.uint16) != (d.window is not None):
            raise InputError("picture and what was sent differ in depth")
        if d.colour != Colour.GREY and self.picture.ndim == 2:
            raise InputError("the picture is grey, what was sent has colour")
        for x, y, width, height in self.regions:
            if width < 1 or height < 1:
                raise InputError(f"region {x},{y},{width},{height} is empty: width and height must be at least 1")
            if not (0 <= x < d.width and 0 <= y < d.height):
                raise InputError(f"region {x},{y},{width},{height} lies outside the picture of {d.width}x{d.height}")

    def wanted(self) -> np.ndarray:
        """Blocks of plane 0 that are asked for: bool (rows, columns); in colour, pairs both ways."""
        d = self.base.description
        grid = np.zeros((-(-d.height // BLOCK), -(-d.width // BLOCK)), bool)
        side = BLOCK if d.colour == Colour.GREY else 2 * BLOCK
        for x, y, width, height in self.regions or ((0, 0, d.width, d.height),):
            top, left = y // side * side // BLOCK, x // side * side // BLOCK
            bottom, right = (-(-(edge) // side) * side // BLOCK for edge in (y + height, x + width))
            grid[top:bottom, left:right] = True
        return grid

    def refine(self, budget: int) -> list[bytes]:
        """The best refinement of at most `budget` bytes, none of what is exact. Raises BudgetError, InputError."""
        parts = [PartCoder(part, self.base.description) for part in self._parts()]
        if not parts:
            return []
        bits_of = counted(parts)

        def make(grain: Grain, finer: Grain | None = None, share: float = 0.0) -> list[bytes]:
            packer = self._packer()
            blend(parts, packer, grain, finer or grain, share)
            return packer.packed()

        overhead = sum(len(part.grids) for part in parts) * SECTION_OVERHEAD
        start = find_grain(bits_of, 8 * (AIM * budget - overhead), START_STEP)
        packets, size = spend(budget, start, bits_of, make, lambda packets: sum(map(len, packets)))
        if size > budget:
            raise BudgetError(budget, size)
        return packets

    def lossless(self) -> list[bytes]:
        """Layer 15 of what is asked for and has not been sent."""
        packer = self._packer()
        d = self.base.description
        for rect in rectangles(self.wanted() & ~self._exact()):
            y, x = rect.samples(d.height, d.width)
            lossless_sections(lossless_planes(self.picture[y, x], d), rect, d, packer)
        return packer.packed()

    def _exact(self) -> np.ndarray:
        """Blocks of plane 0 of which every sample has been sent: bool (rows, columns)."""
        sent = self.base.layers.lossless()
        return np.zeros_like(self.wanted()) if sent is None else sent[1]

    def _packer(self) -> Packer:
        return Packer(self.base.description, self.index, self.packet_size, self.extensions)

    def _parts(self) -> Iterator[Part]:
        """What is asked for, cut by what it refers to: the base, or the highest layer that has been sent."""
        d = self.base.description
        exact_already = self._exact()
        wanted = self.wanted() & ~(exact_already if d.colour == Colour.GREY else in_fours(exact_already))
        planes, level = self._sent()
        if level.max(initial=0) >= LAST_REFINEMENT:
            raise InputError(f"there are no more than {LAST_REFINEMENT - 1} refinements, and all have been sent")
        exact = [self.base.exact(p, NORMATIVE, self.index) for p in range(plane_count(d.colour))]
        for reference in np.unique(level[wanted]):
            for rect in rectangles(wanted & (level == reference)):
                y, x = rect.samples(d.height, d.width)
                for plane, source in enumerate(source_planes(self.picture[y, x], d)):
                    own = rect if plane == 0 else halved(rect)
                    if reference >= FIRST_REFINEMENT:
                        below = planes[plane][own.samples(*layer_shape(d, plane))]
                        yield Part(plane, int(reference) + 1, int(reference), own, source, np.ascontiguousarray(below))
                        continue
                    if not exact[plane][own.top : own.bottom, own.left : own.right].all():
                        raise InputError("the base does not hold layers 0 and 1 of all that is asked for")
                    below = self.base.reference(plane, NORMATIVE, own)
                    yield Part(plane, FIRST_REFINEMENT, NORMATIVE, own, source, below)

    def _sent(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Planes refined by what has been sent, and the layer that each block of plane 0 has reached."""
        if not self.base.layers.sections:
            return [], np.zeros_like(self.wanted(), np.uint8)
        planes, reached = self.base.refined()
        level = reached[0]
        for chroma in reached[1:]:
            rows, columns = (np.arange(n) >> 1 for n in level.shape)
            if (chroma[rows[:, None], columns[None, :]] != level).any():
                raise InputError("what was sent has other layers in luma than in chroma: give all files that were sent")
        return planes, level


def halved(rect: Rect) -> Rect:
    """The blocks of a half-size plane under an even rectangle, or one that ends at the plane's edge."""
    return Rect(rect.top // 2, -(-rect.bottom // 2), rect.left // 2, -(-rect.right // 2))


def in_fours(grid: np.ndarray) -> np.ndarray:
    """The true cells of which all others in their square of 2x2 are true."""
    rows, columns = grid.shape
    padded = np.pad(grid, ((0, rows % 2), (0, columns % 2)), constant_values=True)
    whole = padded.reshape(padded.shape[0] // 2, 2, -1, 2).all((1, 3))
    return whole.repeat(2, 0).repeat(2, 1)[:rows, :columns]


def rectangles(grid: np.ndarray) -> Iterator[Rect]:
    """Rectangles that cover the true cells once: runs of a row, joined downwards while the next row has the same."""
    open_runs: dict[tuple[int, int], int] = {}
    for y in range(grid.shape[0] + 1):
        row = grid[y] if y < grid.shape[0] else np.zeros(grid.shape[1], bool)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
        runs = {(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)}
        for run in sorted(set(open_runs) - runs):
            yield Rect(open_runs.pop(run), y, *run)
        for run in runs:
            open_runs.setdefault(run, y)
