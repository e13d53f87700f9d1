"""Packets to planes and a mask of what was received: the normative decoder. FORMAT.md sections 5 to 7.

Nothing here trusts its input: sections that do not parse are counted and left out, indices are checked against the
plane before anything is written, and memory is bounded by the picture size that the caller has already accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from onboard.errors import SectionError
from onboard.kernels.entropy import parse_first, parse_rest
from onboard.kernels.predict import add_prediction
from onboard.kernels.synthesise import dequantise, pull, push, relax, synthesise
from onboard.model import Model
from onboard.planes import block_grid, enlarge, phase_order, phases, plane_count, plane_log2, plane_shape
from onboard.wire import BLOCK, LAYER_FIRST, LAYER_REST, QUAD, Description, Packet, Section

RELAX_STEPS = 8
MISSING = 255  # no quantiser index


@dataclass
class PlaneState:
    """What has arrived of one plane, raster order.

    Attributes:
        first: int16 (blocks,) dequantised first latents.
        rest: int16 (blocks, 7) dequantised residuals of latents 2 to 8; group: uint8 (blocks,).
        first_index, rest_index: uint8 (blocks,) quantiser index of the packet that brought the block's layer 0 and 1,
            MISSING where none did. The finer of two copies stays, so the order of packets does not matter.
    """

    rows: int
    columns: int
    first: np.ndarray
    rest: np.ndarray
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
            np.zeros((n, 7), np.int16),
            np.zeros(n, np.uint8),
            np.full(n, MISSING, np.uint8),
            np.full(n, MISSING, np.uint8),
        )

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
    """Concealed and predicted latents of a plane: first int16 (blocks,), rest int16 (blocks, 7), group uint8."""

    rows: int
    columns: int
    first: np.ndarray
    rest: np.ndarray
    group: np.ndarray


@dataclass
class Decoding:
    """A picture being received: feed it packets in any order, then ask for planes, mask and coverage."""

    description: Description
    model: Model
    planes: list[PlaneState] = field(init=False)
    bad_sections: int = 0
    skipped_sections: int = 0

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
        scratch = np.empty(total, np.uint8)
        order = phase_order(state.rows, state.columns, self.description.interleave_log2, section.phase)
        if section.layer == LAYER_FIRST:
            q = np.empty(total, np.int16)
            end = parse_first(payload, grid.rows, grid.columns, begin, lookup, scratch, q)
            _check(end)
            first = np.empty(end - begin, np.int16)
            dequantise(q[begin:end], int(steps[0]), first)
            where, better = _finer(order[begin:end], state.first_index, packet_index)
            state.first[where] = first[better]
        else:
            group, q = np.empty(total, np.uint8), np.zeros((total, 7), np.int16)
            end = parse_rest(payload, grid.rows, grid.columns, begin, lookup, scratch, group, q)
            _check(end)
            rest = np.empty((end - begin, 7), np.int16)
            for k in range(7):
                dequantise(q[begin:end, k], int(steps[k + 1]), rest[:, k])
            where, better = _finer(order[begin:end], state.rest_index, packet_index)
            state.rest[where] = rest[better]
            state.group[where] = group[begin:end][better]

    def latents(self) -> list[PlaneLatents]:
        """Concealed and predicted latents of every plane."""
        return [self._plane_latents(s) for s in self.planes]

    def _plane_latents(self, state: PlaneState) -> PlaneLatents:
        first = state.first if state.has_first.all() else conceal(state)
        rest = state.rest.copy()
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
        """Per 8x8 luma block at full size: 0 concealed, 1 layer 0, 2 layers 0 and 1 with all they refer to.

        A group-2 block refers to the first latents of its eight neighbours. uint8 (ceil(h/8), ceil(w/8)).
        """
        luma = self.planes[0]
        shape = (luma.rows, luma.columns)
        first, rest = luma.has_first.reshape(shape), luma.has_rest.reshape(shape)
        around = np.pad(first, 1, constant_values=True)
        row = around[:, :-2] & around[:, 1:-1] & around[:, 2:]
        referred = (row[:-2] & row[1:-1] & row[2:]) | (luma.group.reshape(shape) == 0)
        got = first * (1 + (rest & referred).astype(np.uint8))
        height, width = -(-self.description.height // BLOCK), -(-self.description.width // BLOCK)
        log2 = self.description.scale_log2
        return got[(np.arange(height) >> log2)[:, None], (np.arange(width) >> log2)[None, :]]

    def coverage(self) -> float:
        """Fraction of the blocks of both layers, over all planes, that has arrived."""
        got = sum(int(s.has_first.sum()) + int(s.has_rest.sum()) for s in self.planes)
        return got / sum(2 * len(s.first) for s in self.planes)


def _finer(where: np.ndarray, kept: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray | slice]:
    """Blocks of a section that improve on the copy at hand, as positions in the plane and in the section."""
    had = kept[where]
    if had.min(initial=MISSING) > index:  # initial: a section may have no blocks
        better: np.ndarray | slice = slice(None)
    else:
        better = had > index
        where = where[better]
    kept[where] = index
    return where, better


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
