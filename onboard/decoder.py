"""Packets to planes and a mask of what was received: the normative decoder. FORMAT.md sections 5 to 7.

Nothing here trusts its input: sections that do not parse are counted and left out, indices are checked against the
plane before anything is written, and memory is bounded by the picture size that the caller has already accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from onboard.errors import SectionError
from onboard.kernels import per_block
from onboard.kernels.entropy import UNITS, parse_first, parse_rest
from onboard.kernels.predict import add_prediction
from onboard.kernels.synthesise import place_first, place_rest, pull, push, relax, synthesise
from onboard.model import Model
from onboard.planes import block_grid, enlarge, phase_order, phases, plane_count, plane_log2, plane_shape
from onboard.wire import BLOCK, LAYER_FIRST, LAYER_REST, QUAD, Description, Packet, Section

RELAX_STEPS = 8
MASK_CONCEALED = 0


@dataclass
class PlaneState:
    """What has arrived of one plane, raster order.

    Attributes:
        first: int16 (blocks,) dequantised first latents; has_first uint8 (blocks,).
        rest: int16 (blocks, 7), Fortran order, dequantised residuals of latents 2 to 8; group uint8; has_rest uint8.
        step: uint16 (blocks,) quantiser step of unit 2 in sixteenths, per block (0 where layer 1 is missing).
    """

    rows: int
    columns: int
    first: np.ndarray
    has_first: np.ndarray
    rest: np.ndarray
    group: np.ndarray
    has_rest: np.ndarray
    step: np.ndarray

    @classmethod
    def empty(cls, rows: int, columns: int) -> PlaneState:
        n = rows * columns
        return cls(
            rows,
            columns,
            np.zeros(n, np.int16),
            np.zeros(n, np.uint8),
            per_block(n, UNITS),
            np.zeros(n, np.uint8),
            np.zeros(n, np.uint8),
            np.zeros(n, np.uint16),
        )


@dataclass(frozen=True)
class PlaneLatents:
    """Concealed and predicted latents of a plane: first int16 (blocks,), rest int16 (blocks, 7) in Fortran order, group
    uint8 (blocks,)."""

    rows: int
    columns: int
    first: np.ndarray
    rest: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class _Scratch:
    """Where the sections of a phase are parsed to, one after another."""

    activity: np.ndarray  # uint8 (blocks,)
    first: np.ndarray  # int16 (blocks,)
    group: np.ndarray  # uint8 (blocks,)
    rest: np.ndarray  # int16 (blocks, 7)


@dataclass
class Decoding:
    """A picture being received: feed it packets in any order, then ask for planes, mask and coverage."""

    description: Description
    model: Model
    planes: list[PlaneState] = field(init=False)
    index: int = 0  # quantiser index of the last packet used; decoders that adapt to it look here
    bad_sections: int = 0
    skipped_sections: int = 0
    _scratch: dict[int, _Scratch] = field(default_factory=dict)  # by number of blocks

    def __post_init__(self) -> None:
        self.planes = [
            PlaneState.empty(*block_grid(self.description, p)) for p in range(plane_count(self.description.colour))
        ]

    def add(self, packets: Iterable[Packet]) -> None:
        """Apply packets of this picture. Unknown layers and planes are skipped, malformed sections counted."""
        for packet in packets:
            for section in packet.sections:
                if section.plane >= len(self.planes) or section.layer not in (LAYER_FIRST, LAYER_REST):
                    self.skipped_sections += 1
                    continue
                try:
                    self._apply(section, packet.index)
                    self.index = packet.index
                except SectionError:
                    self.bad_sections += 1

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
        order = phase_order(state.rows, state.columns, self.description.interleave_log2, section.phase)
        scratch = self._scratch.get(total)
        if scratch is None:
            group, rest = np.empty(total, np.uint8), per_block(total, UNITS)
            scratch = _Scratch(np.empty(total, np.uint8), np.empty(total, np.int16), group, rest)
            self._scratch[total] = scratch
        if section.layer == LAYER_FIRST:
            end = parse_first(payload, grid.rows, grid.columns, begin, lookup, scratch.activity, scratch.first)
            _check(end)
            place_first(scratch.first, order, begin, end, steps[0], state.first, state.has_first)
        else:
            group, rest = scratch.group, scratch.rest
            end = parse_rest(payload, grid.rows, grid.columns, begin, lookup, scratch.activity, group, rest)
            _check(end)
            into = (state.rest, state.group, state.has_rest, state.step)
            place_rest(rest, group, order, begin, end, steps, *into)

    def latents(self) -> list[PlaneLatents]:
        """Concealed and predicted latents of every plane."""
        return [self._plane_latents(s) for s in self.planes]

    def _plane_latents(self, state: PlaneState) -> PlaneLatents:
        first = state.first if state.has_first.all() else conceal(state)
        rest = state.rest.copy("F")
        add_prediction(first, state.group, state.columns, self.model.prediction_matrix, rest)
        return PlaneLatents(state.rows, state.columns, first, rest, state.group)

    def plain(self, latents: list[PlaneLatents] | None = None) -> list[np.ndarray]:
        """Normative reconstruction of every plane as coded: uint8 arrays of plane_shape()."""
        out = []
        for i, p in enumerate(latents or self.latents()):
            pixels = np.empty((BLOCK * p.rows, BLOCK * p.columns), np.uint8)
            synthesise(p.first, p.rest, p.group, p.columns, *self.model.decoder_arrays, pixels)
            height, width = plane_shape(self.description, i)
            out.append(pixels[:height, :width])
        return out

    def plain_full(self, latents: list[PlaneLatents] | None = None) -> list[np.ndarray]:
        """Normative reconstruction of every plane at full size."""
        return [
            enlarge(p, self.description, plane_log2(self.description, i)) for i, p in enumerate(self.plain(latents))
        ]

    def mask(self) -> np.ndarray:
        """Per 8x8 luma block at full size: 0 concealed, 1 layer 0, 2 layers 0 and 1. uint8 (ceil(h/8), ceil(w/8))."""
        luma = self.planes[0]
        got = (luma.has_first * (1 + luma.has_rest)).reshape(luma.rows, luma.columns)
        log2 = self.description.scale_log2
        if log2 == 0:
            return got
        height, width = -(-self.description.height // BLOCK), -(-self.description.width // BLOCK)
        return got[(np.arange(height) >> log2)[:, None], (np.arange(width) >> log2)[None, :]]

    def coverage(self) -> float:
        """Fraction of the blocks of both layers, over all planes, that has arrived."""
        got = sum(int(s.has_first.sum()) + int(s.has_rest.sum()) for s in self.planes)
        return got / sum(2 * len(s.first) for s in self.planes)


def conceal(state: PlaneState) -> np.ndarray:
    """First latents with the missing ones interpolated from what arrived (FORMAT.md section 7.1). int16 (blocks,)."""
    known = state.has_first.reshape(state.rows, state.columns)
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
