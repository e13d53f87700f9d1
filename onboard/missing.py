"""Missing maps: which blocks of which layer have not arrived, in a few bytes. FORMAT.md section 15.

Ground and board share this: the ground writes maps, the board sends what they ask for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct

import numpy as np

from onboard.errors import InputError
from onboard.layer_header import FIRST_REFINEMENT, LAYER_LOSSLESS
from onboard.planes import block_grid, phases, plane_count
from onboard.reference import layer_grid
from onboard.wire import LAYER_REST, QUAD, Description

MARK = 0xB1
HEAD = Struct(">BHH")  # mark, picture id, tag
CHECK = Struct(">H")
LEAST_MAP = HEAD.size + CHECK.size
MAX_SPANS = 1 << 20
MAX_UNITS = 1 << 31


@dataclass(frozen=True)
class Line:
    """All blocks of one layer, phase and plane, as a part of the map's one long line of units.

    Attributes:
        blocks: of the phase.
        unit: blocks of a unit: 4 in layer 1, whose sign bits share symbols, else 1.
        begin, end: units, counted over all lines.
    """

    plane: int
    layer: int
    phase: int
    blocks: int
    unit: int
    begin: int
    end: int


@dataclass(frozen=True)
class Run:
    """Blocks `first` to `end` - 1 of one plane, layer and phase, in phase order."""

    plane: int
    layer: int
    phase: int
    first: int
    end: int


@dataclass(frozen=True)
class MissingMap:
    """What is missing of one encoding: spans of units, ascending, not touching, of the line that lines() lays out."""

    picture_id: int
    tag: int
    spans: tuple[tuple[int, int], ...]

    def pack(self, limit: int | None = None) -> bytes:
        """Serialise. With a limit in bytes, the spans that are nearest to each other are joined until the map fits:
        it then asks for more than is missing. Raises InputError when even one span is too large."""
        spans = self.spans
        if limit is not None and len(spans) > 1 and len(_pack(self, spans)) > limit:
            gaps = np.array([b[0] - a[1] for a, b in pairwise(spans)])
            order = np.argsort(gaps, kind="stable")
            low, high = 1, len(gaps)
            while low < high:
                middle = (low + high) // 2
                if len(_pack(self, _joined(spans, order[:middle]))) <= limit:
                    high = middle
                else:
                    low = middle + 1
            spans = _joined(spans, order[:high])
        data = _pack(self, spans)
        if limit is not None and len(data) > limit:
            raise InputError(f"a missing map of {limit} bytes is too small: the smallest has {len(data)} bytes")
        return data

    def runs(self, description: Description) -> Iterator[Run]:
        """The blocks asked for, in sending order. Raises InputError when the map does not fit the picture."""
        found = list(lines(description, LAYER_LOSSLESS))
        if self.spans and self.spans[-1][1] > found[-1].end:
            raise InputError(f"missing map reaches unit {self.spans[-1][1]}, the picture has {found[-1].end}")
        for line in found:
            for span in self.spans:
                begin, end = max(span[0], line.begin) - line.begin, min(span[1], line.end) - line.begin
                if begin < end:
                    last = min(end * line.unit, line.blocks)
                    yield Run(line.plane, line.layer, line.phase, begin * line.unit, last)


def lines(description: Description, last: int = LAYER_REST) -> Iterator[Line]:
    """The lines of a picture's layers 0 to `last`, in the order in which encoders send them."""
    at = 0
    for layer in range(last + 1):
        unit = QUAD if layer == LAYER_REST else 1
        grids = [
            phases(*section_grid(description, plane, layer), description.interleave_log2)
            for plane in range(plane_count(description.colour))
        ]
        for phase in range(description.interleave):
            for plane, grid in enumerate(grids):
                blocks = grid[phase].rows * grid[phase].columns
                end = at + -(-blocks // unit)
                yield Line(plane, layer, phase, blocks, unit, at, end)
                at = end


def section_grid(description: Description, plane: int, layer: int) -> tuple[int, int]:
    """(rows, columns) in blocks of a plane in a layer."""
    if layer < FIRST_REFINEMENT:
        return block_grid(description, plane)
    return layer_grid(description, plane if layer < LAYER_LOSSLESS else 0)


def map_of(description: Description, missing: Iterable[tuple[int, np.ndarray]]) -> MissingMap:
    """The map of bool arrays over parts of the line of units, each with the unit that it begins at, ascending."""
    spans: list[tuple[int, int]] = []
    for at, part in missing:
        edges = at + np.flatnonzero(np.diff(np.concatenate([[False], part, [False]]).astype(np.int8)))
        for begin, end in edges.reshape(-1, 2).tolist():
            joined = bool(spans) and spans[-1][1] == begin
            spans.append((spans.pop()[0] if joined else begin, end))
    return MissingMap(description.picture_id, description.tag, tuple(spans))


def _joined(spans: tuple[tuple[int, int], ...], gaps: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Spans with the given gaps (by number) closed."""
    closed = set(gaps.tolist())
    out = [list(spans[0])]
    for i, (begin, end) in enumerate(spans[1:]):
        if i in closed:
            out[-1][1] = end
        else:
            out.append([begin, end])
    return tuple((a, b) for a, b in out)


def _pack(head: MissingMap, spans: tuple[tuple[int, int], ...]) -> bytes:
    out = bytearray(HEAD.pack(MARK, head.picture_id, head.tag))
    at = 0
    for begin, end in spans:
        out += _number(begin - at) + _number(end - begin)
        at = end
    return bytes(out) + CHECK.pack(binascii.crc_hqx(out, 0xFFFF))


def _number(n: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def parse_map(data: bytes) -> MissingMap:
    """Inverse of MissingMap.pack. Raises InputError."""
    if len(data) < LEAST_MAP or data[0] != MARK:
        raise InputError("not a missing map")
    body = data[: -CHECK.size]
    if binascii.crc_hqx(body, 0xFFFF) != CHECK.unpack_from(data, len(body))[0]:
        raise InputError("missing map is corrupt: its checksum does not match")
    _, picture_id, tag = HEAD.unpack_from(body)
    numbers: list[int] = []
    value, shift = 0, 0
    for byte in body[HEAD.size :]:
        value |= (byte & 127) << shift
        shift += 7
        if shift > 35 or len(numbers) > 2 * MAX_SPANS:
            raise InputError("missing map has numbers that are too large")
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    edges = np.cumsum(numbers, dtype=np.int64)
    inner = numbers[1:]
    if shift or len(numbers) % 2 or 0 in inner or (len(edges) and edges[-1] > MAX_UNITS):
        raise InputError("missing map has spans that cannot be")
    return MissingMap(picture_id, tag, tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2)))


def read_map(text: bytes) -> MissingMap:
    """A map as bytes, or as hex or base64 text as `map_text` writes it. Raises InputError."""
    if text[:1] == bytes((MARK,)):
        return parse_map(text)
    word = b"".join(text.split())
    for decode in (binascii.unhexlify, _unbase64):
        try:
            return parse_map(decode(word))
        except (binascii.Error, InputError):
            continue
    raise InputError("not a missing map, nor the hex or base64 of one; or it was mistyped (its checksum is wrong)")


def map_text(data: bytes) -> str:
    """A map as base64 for telecommands and shells: no padding, no slashes."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unbase64(word: bytes) -> bytes:
    return base64.b64decode(word + b"=" * (-len(word) % 4), altchars=b"-_", validate=True)
