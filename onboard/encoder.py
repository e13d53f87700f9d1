"""Planes to packets. Latents are computed once (`analyse`); `Encoding.packets` may then be called at any index."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onboard.erasure import Protection, protect
from onboard.errors import InputError
from onboard.kernels import per_block
from onboard.kernels.analyse import analyse, quantise_first, quantise_rest
from onboard.kernels.entropy import UNITS
from onboard.kernels.entropy_code import SLACK, code_first, code_rest
from onboard.kernels.fingerprint import fingerprint
from onboard.kernels.order import gather
from onboard.kernels.predict import add_prediction
from onboard.model import Model
from onboard.packer import Packer, check_size
from onboard.planes import block_grid, phases, plane_count, raster_grid, strips
from onboard.wire import (
    LAYER_FIRST,
    LAYER_REST,
    MAX_PACKET,
    QUAD,
    Description,
    Extension,
    Packet,
    Section,
    pack,
)

CRC_ROWS = 1024  # of the picture that content_crc looks at together; a multiple of 16


@dataclass(frozen=True)
class PlaneLatents:
    """Kept latents of one plane.

    Attributes:
        rows, columns: block grid.
        residual: int32 (blocks,) 64 * MSE that G1 leaves.
        latents: int16 (blocks, 8), Fortran order, in sixteenths; columns 1 to 7 valid where residual > floor.
    """

    rows: int
    columns: int
    residual: np.ndarray
    latents: np.ndarray


@dataclass(frozen=True)
class PlaneSymbols:
    """Quantised plane in raster order.

    Attributes:
        rows, columns: block grid.
        first: int16 (blocks,).
        group: uint8 (blocks,).
        rest: int16 (blocks, 7), Fortran order.
    """

    rows: int
    columns: int
    first: np.ndarray
    group: np.ndarray
    rest: np.ndarray


@dataclass(frozen=True)
class Effort:
    """How the encoder spends bits at a given index: its own affair, not on the wire.

    Attributes:
        threshold: on G1's MSE, in (step / 8)^2 / 256.
        price: worth of a bit, in squared steps / 256.
    """

    threshold: int
    price: int


ALL_GROUP_1 = Effort((1 << 32) - 1, 255)  # no block is worth more than one latent: the layers above say the rest


def threshold_energy(model: Model, index: int, effort: Effort) -> int:
    """The G1 threshold of every plane as 64 * MSE: threshold / 256 * (step / 8)^2 * 64, with the luma's step in
    sixteenths: chroma has finer steps, for the eye sees wrong tones, but no more blocks of group 2."""
    step = int(model.steps(index)[1])
    return (effort.threshold * step * step) >> 16


@dataclass(frozen=True)
class Encoding:
    """A picture's latents, ready to be coded at any quantiser index."""

    description: Description
    model: Model
    planes: tuple[PlaneLatents, ...]
    finest: int  # least index for which latents 2 to 8 were kept

    def default_effort(self) -> Effort:
        return Effort(self.model.threshold, self.model.price)

    def symbols(self, index: int, effort: Effort) -> list[PlaneSymbols]:
        """Quantise every plane."""
        if index < self.finest:
            raise InputError(f"quantiser index {index} is finer than the latents kept ({self.finest})")
        return [quantise(plane, self.model, index, effort, i) for i, plane in enumerate(self.planes)]

    def first_latents(self, index: int) -> list[np.ndarray]:
        """First latents of every plane as a decoder has them: dequantised, int16 (blocks,)."""
        found = []
        for i, plane in enumerate(self.planes):
            q, dequantised = np.empty((2, plane.rows * plane.columns), np.int16)
            quantise_first(plane.latents, int(self.model.steps(self.model.plane_index(index, i))[0]), q, dequantised)
            found.append(dequantised)
        return found

    @cached_property
    def _fingerprint(self) -> int:
        """Of all blocks."""
        found = 0
        for plane in self.planes:
            found = int(fingerprint(plane.residual, plane.latents, found))
        return found

    def _derive_tag(self, index: int, effort: Effort, packet_size: int, protection: Protection | None) -> int:
        """Encoding tag: 16 bits that differ, as far as 16 bits can, when anything that is coded may differ."""
        d = self.description
        window = (
            (d.window.depth, d.window.curve, d.window.no_data, d.window.low, d.window.high) if d.window else (0,) * 5
        )
        geometry = (d.model_id, d.width, d.height, d.scale_log2, d.interleave_log2, d.colour)
        facts = (self._fingerprint, *geometry, *window, index, effort.threshold, effort.price, packet_size)
        crc = zlib.crc32(struct.pack(f">{len(facts)}I", *facts))
        if protection is not None:
            how = struct.pack(">4d", *protection.slope, *protection.spread) + b"together" * protection.together
            crc = zlib.crc32(how, crc)
        return crc & 0xFFFF

    def packets(
        self,
        index: int,
        *,
        packet_size: int = MAX_PACKET,
        effort: Effort | None = None,
        extensions: tuple[Extension, ...] = (),
        tag: int | None = None,
        protection: Protection | None = None,
    ) -> list[bytes]:
        """Code the picture at one quantiser index.

        Args:
            index: 0 (finest) to 200.
            packet_size: most bytes of a packet, 48 to 65535.
            effort: see Effort; the model's own by default.
            tag: encoding tag; derived from content and parameters by default.
            protection: erasure packets; None for a stream without.
        """
        effort = effort or self.default_effort()
        return seal(self.sources(index, packet_size, effort, extensions, tag, protection), protection)

    def sources(
        self,
        index: int,
        packet_size: int,
        effort: Effort,
        extensions: tuple[Extension, ...],
        tag: int | None,
        protection: Protection | None,
    ) -> list[Packet]:
        """The source packets of packets(), with room for what erasure packets need but without them."""
        reserve = protection.reserve(bool(extensions)) if protection else (0, 0)
        check_size(self.description, packet_size, extensions, reserve)  # the tag takes no other sizes
        if tag is None:
            tag = self._derive_tag(index, effort, packet_size, protection)
        description = replace(self.description, tag=tag)
        packer = Packer(description, index, packet_size, extensions, reserve)
        symbols = self.symbols(index, effort)
        tables = [self.model.words(self.model.table_set(self.model.plane_index(index, i))) for i in range(len(symbols))]
        for layer in (LAYER_FIRST, LAYER_REST):
            for phase in range(description.interleave):
                for plane, s in enumerate(symbols):
                    for begin, payload, done in _sections(s, plane, layer, phase, description, tables[plane], packer):
                        packer.add(Section(plane, layer, phase, begin, payload), done)
        return packer.finish()


def seal(sources: list[Packet], protection: Protection | None) -> list[bytes]:
    """Source packets serialised, with their erasure packets."""
    return protect(sources, protection) if protection else [pack(p) for p in sources]


def analyse_picture(
    picture: np.ndarray, description: Description, model: Model, finest: int, effort: Effort
) -> Encoding:
    """Compute and keep the latents of a picture (see planes.strips for what it may be).

    Args:
        finest: least quantiser index at which it will be coded; coarser thresholds need fewer latents.
        effort: the smallest threshold that will be used.
    """
    planes, floor = [], threshold_energy(model, finest, effort)
    for plane in range(plane_count(description.colour)):
        rows, columns = block_grid(description, plane)
        blocks = rows * columns
        planes.append(PlaneLatents(rows, columns, np.empty(blocks, np.int32), per_block(blocks, 1 + UNITS, np.empty)))
    weights, multiplier, shift = model.encoder_arrays
    for plane, row, strip in strips(picture, description):
        kept = planes[plane]
        begin = row * kept.columns
        analyse(strip, weights, multiplier, shift, model.norm, floor, begin, kept.residual, kept.latents)
    return Encoding(description, model, tuple(planes), finest)


def content_crc(picture: np.ndarray) -> int:
    """CRC-32 of every 16th row, the shape and the depth: which picture this is. (The tag sees every block.)"""
    crc = zlib.crc32(struct.pack(">III", *picture.shape[:2], picture.itemsize))
    for top in range(0, picture.shape[0], CRC_ROWS):
        crc = zlib.crc32(np.ascontiguousarray(picture[top : top + CRC_ROWS : 16]).data, crc)
    return crc


def quantise(plane: PlaneLatents, model: Model, index: int, effort: Effort, number: int = 0) -> PlaneSymbols:
    """Latents of plane `number` to symbols at a packet's quantiser index."""
    blocks = plane.rows * plane.columns
    steps = model.steps(model.plane_index(index, number))
    first, dequantised = np.empty(blocks, np.int16), np.empty(blocks, np.int16)
    quantise_first(plane.latents, int(steps[0]), first, dequantised)
    candidate = (plane.residual > threshold_energy(model, index, effort)).view(np.uint8)
    rest, group = per_block(blocks, UNITS), np.zeros(blocks, np.uint8)
    if candidate.any():
        add_prediction(dequantised, candidate, plane.columns, model.prediction_matrix, rest)
        quantise_rest(plane.latents, candidate, steps, model.dead_zone, effort.price, rest, group)
    return PlaneSymbols(plane.rows, plane.columns, first, group, rest)


def _sections(
    symbols: PlaneSymbols,
    plane: int,
    layer: int,
    phase: int,
    description: Description,
    words: np.ndarray,
    packer: Packer,
) -> Iterator[tuple[int, bytes, bool]]:
    """Cut one phase of one plane's layer into sections: yields (first block, payload, whether the phase is done)."""
    grid = phases(symbols.rows, symbols.columns, description.interleave_log2)[phase]
    raster = raster_grid(symbols.columns, description.interleave_log2, grid)
    total = grid.rows * grid.columns
    if total == 0:
        return
    scratch = np.empty(total, np.uint8)
    if layer == LAYER_FIRST:
        first = np.empty(total, np.int16)
        gather(symbols.first, raster, first)
    else:
        group = np.empty(total, np.uint8)
        gather(symbols.group, raster, group)
        rest = _order_rest(symbols, raster, total) if group.any() else symbols.rest  # of group 2 only is it read
    begin = 0
    while begin < total:
        limit = packer.room(plane, layer, phase, begin)
        out = np.empty(limit + SLACK, np.uint8)
        if layer == LAYER_FIRST:
            end, used = code_first(first, grid.rows, grid.columns, begin, words, scratch, out, limit)
        else:
            end, used = code_rest(group, rest, grid.rows, grid.columns, begin, words, scratch, out, limit)
        end, used = int(end), int(used)  # without the JIT kernels count in numpy's own integers
        if end == begin:
            if not packer.flush_started():
                _thin(group, begin)
            continue
        yield begin, out[:used].tobytes(), end == total
        begin = end


def _order_rest(symbols: PlaneSymbols, raster: tuple[int, int, int, int, int], total: int) -> np.ndarray:
    """Latents 2 to 8 of a phase in phase order, Fortran order; a phase that is all of the plane takes the place of the
    symbols, which saves fresh memory: that costs more time than the copy."""
    if total < symbols.rows * symbols.columns:
        rest = per_block(total, UNITS, np.empty)
        for unit in range(UNITS):
            gather(symbols.rest[:, unit], raster, rest[:, unit])
        return rest
    line = np.empty(total, np.int16)
    for unit in range(UNITS):
        gather(symbols.rest[:, unit], raster, line)
        symbols.rest[:, unit] = line
    return symbols.rest


def _thin(group: np.ndarray, begin: int) -> None:
    """Send one block of the next quad to group 1: a packet of 48 bytes cannot hold every quad, nor a run of two."""
    both = group[begin : begin + 2 * QUAD]
    last = np.flatnonzero(both if both.all() else both[:QUAD])[-1]
    group[begin + last] = 0
