"""The higher layers, encoder's side: what is left of a picture, or of regions of it, to packets. FORMAT.md section 11.

The encoder and the decoder agree on a reference by `onboard.reference`; what has been sent is told by the caller.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from onboard.depth import colour_planes
from onboard.errors import InputError
from onboard.kernels.lossless import SET_SYMBOLS as LOSSLESS_SYMBOLS
from onboard.kernels.lossless import SLACK as LOSSLESS_SLACK
from onboard.kernels.lossless import code_lossless
from onboard.kernels.refine import SET_SYMBOLS
from onboard.kernels.refine_code import SLACK, ZONE, code_refinement, count_refinement
from onboard.layer_header import LAYER_LOSSLESS, LAYER_STEPS, NO_REFERENCE, LayerHeader
from onboard.packer import Packer
from onboard.planes import base_range, plane_count, strips
from onboard.reference import (
    Rect,
    SectionGrid,
    depth_of,
    layer_grid,
    phase_grid,
    region_grid,
    work_kind,
)
from onboard.tables import lossless_codes, refinement_codes
from onboard.wire import BLOCK, MAX_INDEX, STRIPE, Colour, Description, Section

# What a coefficient must have, in 1/1024 steps, to be sent as 1: more behind a long run, which is dear to say. The dead
# zone goes from its best value to a little over a step: this is what uses up a budget between two steps. Noise needs
# the fine unit.
DEAD_ZONE, WIDEST_DEAD_ZONE = 640, 1200
RUN_PRICE, DEAR_RUN = 448, 24
CHROMA_STEPS = 6  # steps by which chroma is coarser than luma
SECTION_BLOCKS = 1024  # about what a section holds
# Blocks of a plane that are counted, spread over it, for the choice of table set and of grain. Many small pieces tell
# the size of 12 MP to 1 or 2 %, where 16 large ones are up to 17 % off; what they say more, for want of neighbours, is
# below 1 %.
SEARCHED_BLOCKS, PIECE_BLOCKS = 1 << 13, 64
SPREAD_PIECES = 8  # of a grid, for each part of it of which it is told how many bits it takes
MOST_PARTS = 16
COUNTED_ROWS = 16  # of blocks of a plane, for what lossless coding takes
LOSSLESS_LEAST_PACKET = 300  # bytes that surely hold the dearest block of 16-bit samples


@dataclass(frozen=True, order=True)
class Grain:
    """How finely a refinement is coded: the finer of two is the one of the smaller step, then dead zone.

    Attributes:
        step: index into LAYER_STEPS, of luma.
        dead_zone: what a coefficient must have to be sent as 1, in 1/1024 steps.
    """

    step: int
    dead_zone: int = DEAD_ZONE


@lru_cache(maxsize=64)
def zone(step: int, dead_zone: int = DEAD_ZONE) -> np.ndarray:
    """int64 (3,): what a coefficient must have to be kept, see code_refinement. `step` indexes LAYER_STEPS."""
    first, rise = dead_zone * ZONE // 1024, RUN_PRICE * ZONE // (1024 * DEAR_RUN)
    return LAYER_STEPS[step] * np.array([first, rise, first + rise * DEAR_RUN], np.int64)


def base_index(step: int, deeper: int = 0) -> int:
    """The quantiser index of a layer 0 that goes well with a refinement step: one octave is 32 indices or 16 steps.

    Args:
        deeper: steps by which the samples that are refined are larger than those of the base.
    """
    return min(max(2 * (step - deeper) - 64, 0), MAX_INDEX)


def steps_deeper(description: Description) -> int:
    """By how many steps samples of the source are larger than those of the base: 0 for 8 bits.

    Also 0 for deep grey, which loses little by a coarse base (0.1 dB), where chroma would lose five times as much.
    """
    if description.window is None or description.colour == Colour.GREY:
        return 0
    span, levels = description.window.high - description.window.low, base_range(description.window)[1]
    return bisect(LAYER_STEPS, LAYER_STEPS[0] * span // levels)


@dataclass(frozen=True)
class Part:
    """Some blocks of one plane that are refined together from one reference.

    Attributes:
        plane: its number.
        layer, reference: see layer_header.
        rect: the blocks.
        source, base: samples of the rectangle, to be coded and referred to.
    """

    plane: int
    layer: int
    reference: int
    rect: Rect
    source: np.ndarray
    base: np.ndarray

    @property
    def blocks(self) -> int:
        return self.rect.rows * self.rect.columns


def plane_step(step: int, plane: int) -> int:
    return min(step + (CHROMA_STEPS if plane else 0), len(LAYER_STEPS) - 1)


# (number of a grid of a part, block where a section begins) -> (its grain, block up to which it may hold)
GrainAt = Callable[[int, int], tuple[Grain, int]]


@dataclass(frozen=True)
class Counted:
    """What symbols counted here and there say of a part at a grain.

    Attributes:
        table_set: the best one.
        error: squared error in samples.
        spread: of each grid, float (parts,) bits of parts of equal size.
    """

    table_set: int
    error: float
    spread: list[np.ndarray]

    @property
    def bits(self) -> float:
        return float(sum(s.sum() for s in self.spread))


class PartCoder:
    """Codes a part, cut into the grids that its sections run through."""

    def __init__(self, part: Part, description: Description, searched_blocks: int = SEARCHED_BLOCKS) -> None:
        self.part, self.searched_blocks = part, searched_blocks
        # read-only, whatever they were: kernels are compiled for each kind of array
        self.source, self.base = part.source.view(), part.base.view()
        self.source.setflags(write=False)
        self.base.setflags(write=False)
        shape = layer_grid(description, part.plane)
        self.work = work_kind(depth_of(description))
        self._counted: dict[Grain, Counted] = {}
        self.grids = [
            (phase, grid, to_local(grid.order, shape[1], part.rect))
            for phase, grid in part_grids(part.rect, shape, description.interleave_log2)
        ]

    def measure(self, grain: Grain) -> tuple[float, float]:
        """(bits, squared error in samples) at a grain, about."""
        counted = self._count(grain)
        return counted.bits, counted.error

    def spread(self, grain: Grain) -> list[np.ndarray]:
        """About how the bits at a grain are spread: see Counted."""
        return self._count(grain).spread

    def _count(self, grain: Grain) -> Counted:
        if grain not in self._counted:
            self._counted[grain] = self._count_pieces(grain)
        return self._counted[grain]

    def _count_pieces(self, grain: Grain) -> Counted:
        total = sum(len(local) for _, _, local in self.grids)
        stride = max(total // self.searched_blocks, 1)
        piece = SECTION_BLOCKS if stride == 1 else PIECE_BLOCKS
        many = min(max(total // (stride * piece * SPREAD_PIECES * len(self.grids)), 1), MOST_PARTS)
        at = plane_step(grain.step, self.part.plane)
        least = zone(at, grain.dead_zone)
        counts = np.zeros((len(self.grids), many, SET_SYMBOLS), np.int64)
        tally, error = np.zeros((len(self.grids), many, 2), np.int64), 0.0
        for (_, grid, local), symbols, raw in zip(self.grids, counts, tally, strict=True):
            error += count_refinement(
                self.source, self.base, local, self.part.rect.columns, self.work, LAYER_STEPS[at], least,
                grid.rows, grid.columns, piece, stride, symbols, raw,
            )  # fmt: skip
        codes = refinement_codes()
        best = int(codes.cost(counts.sum((0, 1))).argmin())
        found, seen = codes.cost(counts, best) + tally[:, :, 0], tally[:, :, 1]
        usual = found.sum() / max(int(seen.sum()), 1)  # bits of a block, where none was counted
        spread = []
        for bits, those, (_, _, local) in zip(found, seen, self.grids, strict=True):
            blocks = len(local) / many
            spread.append(np.where(those > 0, bits * (blocks / np.maximum(those, 1)), usual * blocks))
        return Counted(best, error * total / max(int(seen.sum()), 1) / 256, spread)

    def sections(self, grain: Grain, packer: Packer, grain_at: GrainAt) -> None:
        """Code everything into a packer, with the table set that is best at a grain."""
        table_set = self._count(grain).table_set
        for number in range(len(self.grids)):
            self._grid_sections(number, table_set, packer, grain_at)

    def _grid_sections(self, number: int, table_set: int, packer: Packer, grain_at: GrainAt) -> None:
        phase, grid, local = self.grids[number]
        words = refinement_codes().words[table_set]
        keep = np.full(len(local), 64, np.uint8)
        begin, total = 0, len(local)
        while begin < total:
            grain, until = grain_at(number, begin)
            step = plane_step(grain.step, self.part.plane)
            header = LayerHeader(self.part.reference, table_set, step, grid.left, grid.span).pack()
            first = grid.number(begin)
            limit = packer.room(self.part.plane, self.part.layer, phase, first) - len(header)
            out = np.empty(limit + SLACK, np.uint8)
            end, used = code_refinement(
                self.source, self.base, local, self.part.rect.columns, self.work, LAYER_STEPS[step],
                zone(step, grain.dead_zone), keep, grid.rows, grid.columns, begin, until, words, out, limit,
            )  # fmt: skip
            if end == begin:
                if not packer.flush_started():
                    keep[begin] //= 2  # a packet of 48 bytes cannot hold every block
                continue
            coded = header + out[:used].tobytes()
            packer.add(Section(self.part.plane, self.part.layer, phase, first, coded), end == total)
            begin = end


def to_local(order: np.ndarray, columns: int, rect: Rect) -> np.ndarray:
    """Raster indices in a grid of `columns` to those within a rectangle of it."""
    if rect.left == 0 and rect.columns == columns and rect.top == 0:
        return order
    local = ((order // columns - rect.top) * rect.columns + order % columns - rect.left).astype(np.int32)
    local.setflags(write=False)  # like an order that is kept, for which kernels are compiled
    return local


def part_grids(rect: Rect, shape: tuple[int, int], interleave_log2: int) -> Iterator[tuple[int, SectionGrid]]:
    """(phase, grid) of the sections that cover a rectangle; a whole plane takes whole phases."""
    down, across = (2 if interleave_log2 == 2 else 1), (2 if interleave_log2 else 1)
    for phase in range(1 << interleave_log2):
        if rect == Rect(0, shape[0], 0, shape[1]):
            grid = phase_grid(shape, interleave_log2, phase)
            if len(grid.order):
                yield phase, grid
            continue
        row, column = phase // across, phase % across
        top, bottom = (max(-(-(edge - row) // down), 0) for edge in (rect.top, rect.bottom))
        left, right = (max(-(-(edge - column) // across), 0) for edge in (rect.left, rect.right))
        for stripe in range(left // STRIPE, -(-right // STRIPE)):
            begin, end = max(left - STRIPE * stripe, 0), min(right - STRIPE * stripe, STRIPE)
            if begin < end and top < bottom:
                yield phase, region_grid(shape, interleave_log2, phase, stripe, Rect(top, bottom, begin, end))


def source_planes(picture: np.ndarray, description: Description) -> list[np.ndarray]:
    """The planes that layers 2 to 14 code, of a picture or an evenly cut region: chroma at half size."""
    if description.window is None:
        height, width = picture.shape[:2]
        own = Description(0, 0, 0, width, height, colour=description.colour)
        cut: dict[int, list[np.ndarray]] = {}
        for plane, _, strip in strips(picture, own):
            cut.setdefault(plane, []).append(strip)
        return [np.ascontiguousarray(np.concatenate(cut[p]) if len(cut[p]) > 1 else cut[p][0]) for p in sorted(cut)]
    if picture.ndim == 3:
        return colour_planes(picture, description.window.depth)[: plane_count(description.colour)]
    return [np.ascontiguousarray(picture)]


def lossless_planes(picture: np.ndarray, description: Description) -> list[np.ndarray]:
    """The planes of layer 15 padded to whole blocks: grey, or R, G, B after a reversible decorrelation."""
    if description.colour == Colour.GREY:
        (grey,) = source_planes(picture, description)
        return [_pad(grey)]
    half = 1 << (depth_of(description) - 1)
    red, green, blue = (picture[..., c].astype(np.int32) for c in range(3))
    u, v = (red - green) & (2 * half - 1), (blue - green) & (2 * half - 1)
    y = (green + ((_signed(u, half) + _signed(v, half)) >> 2)) & (2 * half - 1)
    return [_pad(p.astype(picture.dtype)) for p in (y, (u + half) & (2 * half - 1), (v + half) & (2 * half - 1))]


def _signed(x: np.ndarray, half: int) -> np.ndarray:
    return x - 2 * half * (x >= half)


def _pad(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    return np.ascontiguousarray(np.pad(plane, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge"))


def lossless_sections(planes: Sequence[np.ndarray], rect: Rect, description: Description, packer: Packer) -> None:
    """Code layer 15 of a rectangle of blocks; the planes hold the rectangle only."""
    half = 1 << (depth_of(description) - 1)
    shape = (-(-description.height // BLOCK), -(-description.width // BLOCK))
    codes = lossless_codes()
    for plane, samples in enumerate(planes):
        table_set = _lossless_cost(samples, half)[0]
        words = codes.words[table_set]
        joined = description.interleave_log2 == 0
        for phase, grid in part_grids(rect, shape, description.interleave_log2):
            local = to_local(grid.order, shape[1], rect)
            header = LayerHeader(NO_REFERENCE, table_set, 0, grid.left, grid.span).pack()
            flat, counts = np.empty(len(local), np.uint8), np.zeros(LOSSLESS_SYMBOLS, np.int64)
            begin, total = 0, len(local)
            while begin < total:
                first = grid.number(begin)
                limit = packer.room(plane, LAYER_LOSSLESS, phase, first) - len(header)
                out = np.empty(limit + LOSSLESS_SLACK, np.uint8)
                end, used = code_lossless(
                    samples, half, local[begin:], grid.rows, grid.columns, joined, begin, words, flat, out, limit,
                    counts,
                )  # fmt: skip
                if end == begin:
                    if not packer.flush_started():
                        raise InputError(
                            f"packets of this size cannot hold a lossless block: take {LOSSLESS_LEAST_PACKET}"
                        )
                    continue
                payload = header + out[:used].tobytes()
                packer.add(Section(plane, LAYER_LOSSLESS, phase, first, payload), end == total)
                begin = end


def lossless_bits(
    picture: np.ndarray, description: Description, columns: int | None = None, many: int = COUNTED_ROWS
) -> float:
    """About what layer 15 takes, from some rows of blocks; rather too much, for these cannot refer to each other.

    Args:
        columns: that are looked at in each row, now here, now there; all by default.
        many: rows of blocks, about.
    """
    height, width = picture.shape[:2]
    rows = range(0, height, BLOCK)[:: max(height // (BLOCK * many), 1)]
    across = min(columns or width, width)
    lefts = [(width - across) * i // max(len(rows) - 1, 1) for i in range(len(rows))]
    pieces = [picture[top : top + BLOCK, left : left + across] for top, left in zip(rows, lefts, strict=True)]
    part = np.concatenate(pieces)
    half = 1 << (depth_of(description) - 1)
    found = sum(_lossless_cost(samples, half)[1] for samples in lossless_planes(part, description))
    return found * (height * width) / (part.shape[0] * part.shape[1])


def _lossless_cost(samples: np.ndarray, half: int) -> tuple[int, float]:
    """(table set with the fewest bits, these bits), from some rows of blocks of a plane."""
    codes = lossless_codes()
    rows, columns = samples.shape[0] // BLOCK, samples.shape[1] // BLOCK
    counts = np.zeros(LOSSLESS_SYMBOLS, np.int64)
    room = BLOCK * samples.shape[1] * 4
    out = np.empty(room + LOSSLESS_SLACK, np.uint8)
    flat = np.empty(columns, np.uint8)
    chosen = range(0, rows, max(rows // COUNTED_ROWS, 1))
    coded = 0
    for row in chosen:
        blocks = np.arange(row * columns, (row + 1) * columns, dtype=np.int32)
        coded += 8 * code_lossless(
            samples, half, blocks, 1, columns, True, 0, codes.words[0], flat, out, room, counts
        )[1]  # fmt: skip
    bits = codes.cost(counts)
    best = int(bits.argmin())
    return best, float(coded + bits[best] - bits[0]) * rows / len(chosen)
