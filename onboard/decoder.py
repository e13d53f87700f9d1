"""Packets to planes and a mask of what was received: the normative decoder. FORMAT.md sections 5 to 7.

Nothing here trusts its input: sections that do not parse are counted and left out, indices are checked against the
plane before anything is written, and memory is bounded by the picture size that the caller has already accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from onboard.errors import SectionError
from onboard.kernels.entropy import UNITS
from onboard.kernels.entropy_parse import parse_first, parse_rest
from onboard.kernels.order import place_first, place_rest
from onboard.kernels.predict import predict
from onboard.kernels.synthesise import pull, push, relax, synthesise
from onboard.layer_header import FIRST_REFINEMENT, FORETOLD
from onboard.layers import LOSSLESS_REACHED, Layers
from onboard.model import Model
from onboard.planes import block_grid, enlarge, phases, plane_count, plane_log2, plane_shape, raster_grid
from onboard.reference import Rect, foretold_plane, layer_grid, reference_plane, whole
from onboard.wire import BLOCK, LAYER_FIRST, LAYER_REST, QUAD, Description, Packet, Section

RELAX_STEPS = 8
MISSING = 255  # no quantiser index


@dataclass
class PlaneState:
    """What has arrived of one plane, raster order.

    Attributes:
        first: int16 (blocks,) dequantised first latents.
        rest_rows: int16 (blocks, 8), dequantised residuals of latents 2 to 8 and a zero; group: uint8 (blocks,).
        first_index, rest_index: uint8 (blocks,) quantiser index of the packet that brought the block's layer 0 and 1,
            MISSING where none did. The finer of two copies stays, so the order of packets does not matter.
    """

    rows: int
    columns: int
    first: np.ndarray
    rest_rows: np.ndarray
    group: np.ndarray
    first_index: np.ndarray
    rest_index: np.ndarray

    @classmethod
    def empty(cls, rows: int, columns: int) -> PlaneState:
        n = rows * columns
        return cls(
            rows,
            columns,
            np.zeros(n, np.int16),
            np.zeros((n, 1 + UNITS), np.int16),
            np.zeros(n, np.uint8),
            np.full(n, MISSING, np.uint8),
            np.full(n, MISSING, np.uint8),
        )

    @property
    def rest(self) -> np.ndarray:
        """Dequantised residuals of latents 2 to 8: int16 (blocks, 7)."""
        return self.rest_rows[:, :UNITS]

    def usual_index(self) -> int:
        """The packet index that brought most blocks, whatever the order they came in; MISSING for none."""
        arrived = np.bincount(np.concatenate([self.first_index, self.rest_index]), minlength=MISSING + 1)[:MISSING]
        return int(arrived.argmax()) if arrived.any() else MISSING

    @property
    def has_first(self) -> np.ndarray:
        return self.first_index != MISSING

    @property
    def has_rest(self) -> np.ndarray:
        return self.rest_index != MISSING


@dataclass(frozen=True)
class PlaneLatents:
    """Concealed and predicted latents of a plane.

    Attributes:
        first: int16 (blocks,).
        rest_rows: int16 (blocks, 8), latents 2 to 8 and a zero; all zero for group 1. group: uint8 (blocks,).
    """

    rows: int
    columns: int
    first: np.ndarray
    rest_rows: np.ndarray
    group: np.ndarray

    @property
    def rest(self) -> np.ndarray:
        """Latents 2 to 8: int16 (blocks, 7)."""
        return self.rest_rows[:, :UNITS]

    def part(self, rows: slice, columns: slice) -> PlaneLatents:
        """Those of some rows and columns of blocks; itself if these are all."""
        if (rows, columns) == (slice(0, self.rows), slice(0, self.columns)):
            return self
        grid = self.rows, self.columns, -1
        cut = (np.ascontiguousarray(a.reshape(grid)[rows, columns]) for a in (self.first, self.rest_rows, self.group))
        first, rest, group = cut
        rows_left, columns_left = first.shape[:2]
        return PlaneLatents(rows_left, columns_left, first.ravel(), rest.reshape(-1, 1 + UNITS), group.ravel())


@dataclass(frozen=True)
class _Scratch:
    """Where the sections of a phase are parsed to, one after another."""

    activity: np.ndarray  # uint8 (blocks,)
    first: np.ndarray  # int16 (blocks,)
    group: np.ndarray  # uint8 (blocks,)
    rest: np.ndarray  # int16 (blocks, 8), as parse_rest gives it


@dataclass
class Decoding:
    """A picture being received: feed it packets in any order, then ask for planes, mask and coverage."""

    description: Description
    model: Model
    planes: list[PlaneState] = field(init=False)
    layers: Layers = field(init=False)
    bad_sections: int = 0
    skipped_sections: int = 0
    _scratch: dict[int, _Scratch] = field(default_factory=dict)  # by number of blocks

    def __post_init__(self) -> None:
        self.planes = [
            PlaneState.empty(*block_grid(self.description, p)) for p in range(plane_count(self.description.colour))
        ]
        self.layers = Layers(self.description, len(self.planes))

    def add(self, packets: Iterable[Packet]) -> None:
        """Apply packets of this picture. Planes that it cannot have are skipped, bad sections counted."""
        for packet in packets:
            for section in packet.sections:
                if section.plane >= len(self.planes):
                    self.skipped_sections += 1
                    continue
                try:
                    if section.layer >= FIRST_REFINEMENT:
                        self.layers.add(section, packet.index)
                    else:
                        self._apply(section, packet.index)
                except SectionError:
                    self.bad_sections += 1
        self.bad_sections += self.layers.parse()

    def _apply(self, section: Section, packet_index: int) -> None:
        state = self.planes[section.plane]
        grids = phases(state.rows, state.columns, self.description.interleave_log2)
        if section.phase >= len(grids):
            raise SectionError(-4)
        grid = grids[section.phase]
        total = grid.rows * grid.columns
        begin = section.first
        if begin >= total or (section.layer == LAYER_REST and begin % QUAD):
            raise SectionError(-4)
        index = self.model.plane_index(packet_index, section.plane)
        lookup = self.model.lookup(self.model.table_set(index))
        steps = self.model.steps(index)
        payload = np.frombuffer(section.payload, np.uint8)
        raster = raster_grid(state.columns, self.description.interleave_log2, grid)
        scratch = self._scratch.get(total)
        if scratch is None:
            group, rest = np.empty(total, np.uint8), np.empty((total, 1 + UNITS), np.int16)
            scratch = _Scratch(np.empty(total, np.uint8), np.empty(total, np.int16), group, rest)
            self._scratch[total] = scratch
        if section.layer == LAYER_FIRST:
            end = parse_first(payload, grid.rows, grid.columns, begin, lookup, scratch.activity, scratch.first)
            _check(end)
            place_first(scratch.first, begin, end, raster, steps[0], packet_index, state.first, state.first_index)
        else:
            group, rest = scratch.group, scratch.rest
            end = parse_rest(payload, grid.rows, grid.columns, begin, lookup, scratch.activity, group, rest)
            _check(end)
            into = (state.rest_rows, state.group, state.rest_index)
            place_rest(rest, group, begin, end, raster, steps, packet_index, *into)

    def latents(self) -> list[PlaneLatents]:
        """Concealed and predicted latents of every plane."""
        return [self._plane_latents(s) for s in self.planes]

    def _plane_latents(self, state: PlaneState) -> PlaneLatents:
        first = _whole_first(state)
        rest = np.empty_like(state.rest_rows)
        predict(first, state.rest_rows, state.group, state.columns, self.model.prediction_matrix, rest)
        return PlaneLatents(state.rows, state.columns, first, rest, state.group)

    def plain(self, latents: list[PlaneLatents] | None = None) -> list[np.ndarray]:
        """Normative reconstruction of every plane as coded: uint8 arrays of plane_shape().

        latents: the planes' latents, where they are at hand already.
        """
        out = []
        for i, state in enumerate(self.planes):
            first = latents[i].first if latents else _whole_first(state)
            pixels = np.empty((BLOCK * state.rows, BLOCK * state.columns), np.uint8)
            arrays = self.model.prediction_matrix, *self.model.decoder_arrays
            synthesise(first, state.rest_rows, state.group, state.columns, *arrays, pixels)
            height, width = plane_shape(self.description, i)
            out.append(pixels[:height, :width])
        return out

    def plain_full(self, latents: list[PlaneLatents] | None = None) -> list[np.ndarray]:
        """Normative reconstruction of every plane at full size."""
        return [
            enlarge(p, self.description, plane_log2(self.description, i)) for i, p in enumerate(self.plain(latents))
        ]

    def reference(self, plane: int, kind: int, rect: Rect | None = None) -> np.ndarray:
        """What layers 2 and up of a plane refer to (FORETOLD or NORMATIVE), whole or of some blocks."""
        state = self.planes[plane]
        rect = rect or whole(self.description, plane)
        if kind == FORETOLD:
            first = _whole_first(state)
            return foretold_plane(self.description, self.model, plane, first, state.columns, rect)
        p = self._plane_latents(state)
        latents = p.first, p.rest_rows, p.group
        return reference_plane(self.description, self.model, plane, latents, state.columns, rect)

    def exact(self, plane: int, kind: int, index: int) -> np.ndarray:
        """Blocks of layers 2 and up whose reference is what the encoder had at this index: bool (rows, columns)."""
        state = self.planes[plane]
        shape = (state.rows, state.columns)
        first = (state.first_index == index).reshape(shape)
        around = _all_around(first)
        if kind == FORETOLD:
            sure = around
        else:
            rest = (state.rest_index == index).reshape(shape)
            sure = first & rest & (around | (state.group.reshape(shape) == 0))
        log2 = self.description.scale_log2
        if not log2:
            return sure
        sure = _all_around(sure)  # the enlarger reaches into the blocks around
        rows, columns = layer_grid(self.description, plane)
        return sure[(np.arange(rows) >> log2)[:, None], (np.arange(columns) >> log2)[None, :]]

    def refined(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Planes with layers 2 to 14 applied, and the highest layer applied to each of their blocks; see Layers."""
        return self.layers.refine(self.reference, self.exact)

    def reached_mask(self, reached: list[np.ndarray]) -> np.ndarray:
        """The mask with the higher layers: of several planes the least counts, lossless blocks are 255."""
        got = self.mask()
        higher = reached[0].copy()
        for chroma in reached[1:]:
            rows, columns = (np.arange(n) >> 1 for n in higher.shape)
            np.minimum(higher, chroma[rows[:, None], columns[None, :]], out=higher)
        got = np.where(higher > 0, higher + 1, got).astype(np.uint8)
        exact = self.layers.lossless()
        if exact is not None:
            got[exact[1]] = LOSSLESS_REACHED + 1
        return got

    def mask(self) -> np.ndarray:
        """Per 8x8 luma block at full size: 0 concealed, 1 layer 0, 2 layers 0 and 1 with all they refer to.

        A group-2 block refers to the first latents of its eight neighbours. uint8 (ceil(h/8), ceil(w/8)).
        """
        luma = self.planes[0]
        shape = (luma.rows, luma.columns)
        first, rest = luma.has_first.reshape(shape), luma.has_rest.reshape(shape)
        if not first.all():
            rest &= _all_around(first) | (luma.group.reshape(shape) == 0)
        got = first * (1 + rest.astype(np.uint8))
        log2 = self.description.scale_log2
        if log2 == 0:
            return got
        height, width = -(-self.description.height // BLOCK), -(-self.description.width // BLOCK)
        return got[(np.arange(height) >> log2)[:, None], (np.arange(width) >> log2)[None, :]]

    def coverage(self) -> float:
        """Fraction of the blocks of layers 0 and 1, and of the higher ones that are sent whole, that has arrived."""
        has = [s.has_first for s in self.planes] + [s.has_rest for s in self.planes]
        has += [self.layers.arrived(layer, plane) for layer in self.layers.whole for plane in range(len(self.planes))]
        return sum(map(np.count_nonzero, has)) / sum(map(len, has))


def _all_around(grid: np.ndarray) -> np.ndarray:
    """Cells that are true with all their neighbours inside the grid."""
    if grid.all():
        return grid
    padded = np.pad(grid, 1, constant_values=True)
    row = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
    return row[:-2] & row[1:-1] & row[2:]


def _whole_first(state: PlaneState) -> np.ndarray:
    return state.first if state.has_first.all() else conceal(state)


def conceal(state: PlaneState) -> np.ndarray:
    """First latents with the missing ones interpolated from what arrived (FORMAT.md section 7.1). int16 (blocks,)."""
    known = state.has_first.view(np.uint8).reshape(state.rows, state.columns)
    value = np.where(known, state.first.reshape(known.shape), 0).astype(np.int32)
    levels = [(value, known)]
    while max(levels[-1][0].shape) > 1:
        fine, fine_known = levels[-1]
        shape = (-(-fine.shape[0] // 2), -(-fine.shape[1] // 2))
        coarse, coarse_known = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
        pull(fine, fine_known, coarse, coarse_known)
        levels.append((coarse, coarse_known))
    for (fine, fine_known), (coarse, _) in zip(levels[-2::-1], levels[:0:-1], strict=True):
        push(fine, fine_known, coarse)
    for _ in range(RELAX_STEPS):
        relax(value, known, value.copy())
    return value.astype(np.int16).ravel()


def _check(status: int) -> None:
    if status < 0:
        raise SectionError(status)
