"""Packets, sections and extensions on the wire: the only owner of wire constants. FORMAT.md sections 2 to 4.

Everything is big-endian. A packet is `header [window] [extensions] section* crc32`; a section is
`plane/layer, start, [length], payload`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

from onboard.errors import InputError, PacketError, VersionError

MAGIC = 0x0BC  # 12 bits; the version shares its second byte
VERSION = 1
MIN_PACKET = 48
MAX_PACKET = 65535
MAX_SIDE = 65535
MAX_SCALE_LOG2 = 7
MAX_INTERLEAVE_LOG2 = 2
BLOCK = 8
STRIPE = 32  # blocks
QUAD = 4  # blocks whose sign bits share a symbol

HEADER = struct.Struct(">HBHHHHHBBH")
WINDOW = struct.Struct(">BHH")
CRC = struct.Struct(">I")
FLAG_EXTENSIONS = 0x8
FLAG_WINDOW = 0x4
RESERVED_FLAGS = 0x3

LAYER_FIRST = 0
LAYER_REST = 1

EXTENSION_END = 0
ERASURE = struct.Struct(">BB")  # group, index within it
PARITY = struct.Struct(">BBBB")  # group, index within it, k, m
LENGTH = struct.Struct(">H")
MAX_EXTENSION = 255
TIME = struct.Struct(">q")

# Quantiser index -> step in sixteenths of a latent unit: round(64 * 2^(i/32)), spelled out in FORMAT.md section 6.
STEPS = tuple(round(64 * 2 ** (i / 32)) for i in range(201))
MAX_INDEX = len(STEPS) - 1
MAX_QUALITY = 100  # the finest preview; above it a refinement, up to
LOSSLESS_QUALITY = 200


def index_of(quality: float) -> int:
    """Quantiser index of a quality, 0 (coarsest) to 100 (finest); halves count."""
    return round(MAX_INDEX * (1 - quality / MAX_QUALITY))


def quality_of(index: int) -> float:
    """Inverse of index_of."""
    return MAX_QUALITY * (MAX_INDEX - index) / MAX_INDEX


class Kind(IntEnum):
    """Packet kinds. PARITY restores source packets (section 2.6); SUMMARY is reserved and skipped."""

    SOURCE = 0
    PARITY = 1
    SUMMARY = 2


class Colour(IntEnum):
    """What the planes are: one grey plane, or Y, Cb, Cr with chroma at half size in both directions."""

    GREY = 0
    YCBCR420 = 1


class Curve(IntEnum):
    """Transfer curve between the window and the 8-bit planes."""

    LINEAR = 0
    SQRT = 1


class ExtensionType(IntEnum):
    """Extension types. SENT is reserved; all unknown types are skipped."""

    ERASURE = 1
    SOURCE_ID = 2
    CAPTURE_TIME = 3
    METADATA = 4
    SENT = 5


@dataclass(frozen=True)
class Window:
    """Where 9 to 16-bit samples lie: `low` maps to the darkest plane value, `high` to 255.

    Attributes:
        depth: bits per sample of the source, 9 to 16.
        curve: transfer curve.
        no_data: True when source value 0 means "no data" (planes then keep 0 for it and start valid data at 16).
        low, high: source sample values, 0 <= low < high <= 65535.
    """

    depth: int
    curve: Curve
    no_data: bool
    low: int
    high: int

    def __post_init__(self) -> None:
        if not (9 <= self.depth <= 16 and 0 <= self.low < self.high < 1 << self.depth):
            raise InputError(
                f"window {self.low}..{self.high} of {self.depth} bits: need depth 9 to 16 and low < high < 2^depth"
            )


@dataclass(frozen=True)
class Description:
    """The picture description that every packet repeats (FORMAT.md section 2)."""

    picture_id: int
    tag: int
    model_id: int
    width: int
    height: int
    scale_log2: int = 0
    interleave_log2: int = 0
    colour: Colour = Colour.GREY
    window: Window | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise InputError(f"picture size {self.width}x{self.height}: both sides must be 1 to {MAX_SIDE}")
        if not (0 <= self.scale_log2 <= MAX_SCALE_LOG2 and 0 <= self.interleave_log2 <= MAX_INTERLEAVE_LOG2):
            raise InputError(f"scale 2^{self.scale_log2}, interleave 2^{self.interleave_log2}: at most 2^7 and 2^2")
        if not all(0 <= n <= 0xFFFF for n in (self.picture_id, self.tag, self.model_id)):
            raise InputError("picture id, tag and model id must be 0 to 65535")

    @property
    def scale(self) -> int:
        return 1 << self.scale_log2

    @property
    def interleave(self) -> int:
        return 1 << self.interleave_log2


@dataclass(frozen=True)
class Section:
    """A run of blocks of one plane, layer and interleave phase.

    Attributes:
        plane: 0 to 15 (Y or grey, Cb, Cr).
        layer: 0 to 15.
        phase: interleave phase, 0 to 3.
        first: index of the first block in phase order, 0 to 2^27 - 1.
        payload: code words, padded with ones.
    """

    plane: int
    layer: int
    phase: int
    first: int
    payload: bytes


@dataclass(frozen=True)
class Extension:
    """A typed extension: `type` 1 to 255, `data` at most 255 bytes."""

    type: int
    data: bytes


@dataclass(frozen=True)
class Packet:
    """One packet, parsed or to be packed."""

    description: Description
    index: int
    sections: tuple[Section, ...] = ()
    extensions: tuple[Extension, ...] = ()
    kind: int = Kind.SOURCE
    body: bytes = field(default=b"", repr=False)  # what follows the header of a kind that is not decoded here
    # What parity packets protect of a source packet in an erasure group; only packets that were parsed have it.
    protected: bytes = field(default=b"", repr=False, compare=False)

    @property
    def erasure(self) -> tuple[int, int] | None:
        """(group, index within it) of a source packet in an erasure group: its ERASURE entry stands first."""
        if self.extensions and self.extensions[0].type == ExtensionType.ERASURE:
            data = self.extensions[0].data
            return ERASURE.unpack(data) if len(data) == ERASURE.size else None
        return None


def protected_part(packed: bytes | memoryview, description: Description) -> bytes:
    """What parity packets protect of a packed source packet: what lies between its ERASURE entry and its CRC-32."""
    return bytes(packed[header_size(description) + 2 + ERASURE.size : -CRC.size])


def section_header(plane: int, layer: int, phase: int, first: int, length: int | None) -> bytes:
    """The 2 to 7 bytes before a section's payload; `length` is None for a packet's last section."""
    extra = 0 if first < 1 << 3 else (max(first.bit_length() - 3, 1) + 7) // 8
    if extra > 3 or first < 0:
        raise InputError(f"first block {first} is outside 0 to 2^27 - 1")
    top = first >> (8 * extra)
    head = bytes((plane << 4 | layer, phase << 6 | (length is not None) << 5 | extra << 3 | top))
    head += (first & ((1 << 8 * extra) - 1)).to_bytes(extra, "big")
    return head if length is None else head + length.to_bytes(2, "big")


def header_size(description: Description, extensions: Iterable[Extension] = ()) -> int:
    """Bytes of a packet before its first section."""
    size = HEADER.size + (WINDOW.size if description.window else 0)
    listed = tuple(extensions)
    return size + (sum(2 + len(e.data) for e in listed) + 1 if listed else 0)


def pack(packet: Packet) -> bytes:
    """Serialise a packet. Raises InputError when a field is out of range or it does not fit 65535 bytes."""
    d = packet.description
    if not (0 <= packet.index <= MAX_INDEX and 0 <= packet.kind <= 15 and d.colour in tuple(Colour)):
        raise InputError(f"quantiser index {packet.index}, kind {packet.kind} or colour {d.colour} out of range")
    for s in packet.sections:
        if not (0 <= s.plane <= 15 and 0 <= s.layer <= 15 and 0 <= s.phase <= 3 and len(s.payload) <= MAX_PACKET):
            raise InputError(f"section of plane {s.plane}, layer {s.layer}, phase {s.phase}, {len(s.payload)} bytes")
    flags = (FLAG_EXTENSIONS if packet.extensions else 0) | (FLAG_WINDOW if d.window else 0)
    parts = []
    if d.window:
        w = d.window
        parts.append(WINDOW.pack((w.depth - 1) << 4 | w.curve << 1 | w.no_data, w.low, w.high))
    if packet.extensions:
        for e in packet.extensions:
            if not (0 < e.type < 256 and len(e.data) <= MAX_EXTENSION):
                raise InputError(
                    f"extension of type {e.type} and {len(e.data)} bytes: type 1 to 255, at most 255 bytes"
                )
            parts.append(bytes((e.type, len(e.data))) + e.data)
        parts.append(bytes((EXTENSION_END,)))
    for i, s in enumerate(packet.sections):
        last = i == len(packet.sections) - 1
        parts.append(section_header(s.plane, s.layer, s.phase, s.first, None if last else len(s.payload)))
        parts.append(s.payload)
    parts.append(packet.body)
    body = b"".join(parts)
    total = HEADER.size + len(body) + CRC.size
    if total > MAX_PACKET:
        raise InputError(f"packet of {total} bytes: at most {MAX_PACKET}")
    head = HEADER.pack(
        MAGIC << 4 | VERSION,
        packet.kind << 4 | flags,
        d.picture_id,
        d.tag,
        d.model_id,
        d.width,
        d.height,
        d.scale_log2 << 5 | d.interleave_log2 << 3 | d.colour,
        packet.index,
        total,
    )
    return head + body + CRC.pack(zlib.crc32(head + body))


def unpack(data: bytes | memoryview, offset: int = 0) -> tuple[Packet, int]:
    """Parse the packet at `offset`; return it and the offset behind it.

    Raises PacketError (with the offset and the reason) when there is no whole packet, VersionError when there is one
    of another version. Nothing is allocated beyond the packet's own bytes.
    """
    view = memoryview(data)[offset : offset + MAX_PACKET]
    if len(view) < HEADER.size + CRC.size:
        raise PacketError(offset, f"{len(view)} bytes left, a packet has at least {HEADER.size + CRC.size}")
    word, kind_flags, picture_id, tag, model_id, width, height, geometry, index, total = HEADER.unpack_from(view)
    if word >> 4 != MAGIC:
        raise PacketError(offset, f"magic is {word >> 4:03x}, not {MAGIC:03x}")
    if not HEADER.size + CRC.size <= total <= len(view):
        raise PacketError(offset, f"length field says {total}, {len(view)} bytes left")
    if zlib.crc32(view[: total - CRC.size]) != CRC.unpack_from(view, total - CRC.size)[0]:
        raise PacketError(offset, "CRC-32 does not match")
    end = offset + total
    if word & 15 != VERSION:
        raise VersionError(offset, f"format version {word & 15}, this decoder knows {VERSION}", end)
    kind, flags = kind_flags >> 4, kind_flags & 15
    rest = view[HEADER.size : total - CRC.size]
    scale_log2, interleave_log2, colour = geometry >> 5, geometry >> 3 & 3, geometry & 7
    try:
        if flags & RESERVED_FLAGS:
            raise InputError(f"reserved flags {flags & RESERVED_FLAGS:x} are set")
        if colour > max(Colour) or index > MAX_INDEX:
            raise InputError(f"colour {colour} or quantiser index {index} unknown")
        window = None
        extensions: tuple[Extension, ...] = ()
        if flags & FLAG_WINDOW:
            window, rest = _unpack_window(rest)
        if flags & FLAG_EXTENSIONS:
            extensions, rest = _unpack_extensions(rest)
        sections = tuple(_unpack_sections(rest)) if kind == Kind.SOURCE else ()
        description = Description(
            picture_id, tag, model_id, width, height, scale_log2, interleave_log2, Colour(colour), window
        )
    except InputError as e:
        raise PacketError(offset, str(e), end) from None
    if kind != Kind.SOURCE:
        return Packet(description, index, (), extensions, kind, bytes(rest)), end
    packet = Packet(description, index, sections, extensions)
    if packet.erasure is not None:
        packet = replace(packet, protected=protected_part(view[:total], description))
    return packet, end


def _unpack_window(rest: memoryview) -> tuple[Window, memoryview]:
    if len(rest) < WINDOW.size:
        raise InputError("window is cut short")
    how, low, high = WINDOW.unpack_from(rest)
    curve = how >> 1 & 7
    if curve > max(Curve):
        raise InputError(f"transfer curve {curve} unknown")
    return Window((how >> 4) + 1, Curve(curve), bool(how & 1), low, high), rest[WINDOW.size :]


def _unpack_extensions(rest: memoryview) -> tuple[tuple[Extension, ...], memoryview]:
    found = []
    at = 0
    while at < len(rest) and rest[at] != EXTENSION_END:
        end = at + 2 + (rest[at + 1] if at + 1 < len(rest) else MAX_PACKET)
        if end >= len(rest):
            break
        found.append(Extension(rest[at], bytes(rest[at + 2 : end])))
        at = end
    if at >= len(rest) or rest[at] != EXTENSION_END:
        raise InputError("extension list has no end")
    return tuple(found), rest[at + 1 :]


def _unpack_sections(rest: memoryview) -> Iterator[Section]:
    at = 0
    while at < len(rest):
        if at + 2 > len(rest):
            raise InputError("section header is cut short")
        plane, layer = rest[at] >> 4, rest[at] & 15
        phase, has_length, extra = rest[at + 1] >> 6, rest[at + 1] >> 5 & 1, rest[at + 1] >> 3 & 3
        begin = at + 2 + extra + 2 * has_length
        if begin > len(rest):
            raise InputError("section header is cut short")
        first = (rest[at + 1] & 7) << 8 * extra | int.from_bytes(rest[at + 2 : at + 2 + extra], "big")
        end = begin + int.from_bytes(rest[begin - 2 : begin], "big") if has_length else len(rest)
        if end > len(rest):
            raise InputError(f"section of {end - begin} bytes, {len(rest) - begin} left")
        yield Section(plane, layer, phase, first, bytes(rest[begin:end]))
        at = end
