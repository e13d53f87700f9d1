"""Erasure packets, the board's half: systematic Reed-Solomon over GF(256) across packets. FORMAT.md section 2.6.

A group is k source packets and m parity packets; any k of the k + m restore the group. The code is the classic one
(field polynomial 0x11D, generator with the roots 2^0 .. 2^(m-1)), byte column by byte column, so an encoder needs two
tables of 256 bytes and m times the packet size of memory, and takes the source packets one at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from math import ceil, gcd, sqrt

import numpy as np

from onboard.errors import InputError
from onboard.wire import (
    CRC,
    ERASURE,
    HEADER,
    LAYER_FIRST,
    LENGTH,
    MAX_PACKET,
    PARITY,
    Description,
    Extension,
    ExtensionType,
    Kind,
    Packet,
    pack,
    protected_part,
    unpack,
)

POLYNOMIAL = 0x11D
MAX_GROUP = 255  # packets, parity packets included
MAX_GROUPS = 256
GOLDEN_SECTION = (sqrt(5) - 1) / 2
EXTENSION_SIZE = 2 + ERASURE.size + 1  # with the end of the list
# Parity fields and length stand where a source packet has its ERASURE entry: so much larger is a parity packet
PARITY_EXCESS = PARITY.size + LENGTH.size - (2 + ERASURE.size)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    powers, logs = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    value = 1
    for i in range(255):
        powers[i] = value
        logs[value] = i
        value <<= 1
        if value > 255:
            value ^= POLYNOMIAL
    powers[255] = powers[0]
    return powers, logs


POWERS, LOGS = _tables()  # 512 bytes: 2^i, and its inverse (0 has none)


def multiply(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """Products in GF(256), element by element."""
    product = POWERS[(LOGS[a].astype(np.int32) + LOGS[b]) % 255]
    return np.where((np.asarray(a) == 0) | (np.asarray(b) == 0), np.uint8(0), product)


@lru_cache(maxsize=64)
def _generator(parity: int) -> np.ndarray:
    """Products of every byte with the generator's coefficients below the leading one: uint8 (m, 256)."""
    g = np.array([1], np.uint8)  # highest power first
    for i in range(parity):
        g = np.append(g, 0).astype(np.uint8) ^ np.append(0, multiply(g, int(POWERS[i]))).astype(np.uint8)
    return multiply(g[1:, None], np.arange(256, dtype=np.uint8)[None, :])


def parity_rows(source: np.ndarray, parity: int) -> np.ndarray:
    """Parity of a group.

    Args:
        source: uint8 (k, n), a packet's protected bytes in each row, padded with zeros.
        parity: m.

    Returns:
        uint8 (m, n).
    """
    rows = _generator(parity)
    state = np.zeros((parity, source.shape[1]), np.uint8)
    for packet in source:
        feedback = packet ^ state[0]
        state[:-1] = state[1:]
        state[-1] = 0
        state ^= rows[:, feedback]
    return state


@dataclass(frozen=True)
class Protection:
    """How many parity packets a group gets, by the layer that its packets begin with: m = slope * k + spread * sqrt(k).

    The second term is what chance asks for: the number of lost packets scatters with the square root of their number.

    Attributes:
        slope, spread: of layer 0, and of the layers above it.
        together: layer 0 and those above share their groups, which the first of each pair is for: fewer packets then
            stand in for any that get lost, and a burst needs covering once.
    """

    slope: tuple[float, float]
    spread: tuple[float, float] = (0.0, 0.0)
    together: bool = False

    def __post_init__(self) -> None:
        if not all(0 <= s <= 10 for s in self.slope):
            raise InputError(f"parity {' and '.join(f'{100 * s:g}' for s in self.slope)}: must be 0 to 1000 percent")

    @classmethod
    def percent(cls, first: float, rest: float) -> Protection:
        """Parity packets for a hundred source packets of layer 0 and of the layers above."""
        return cls((first / 100, rest / 100))

    def covers(self, above: bool) -> bool:
        """Whether packets of this layer get parity at all; those that do not pay nothing for it."""
        kind = above and not self.together
        return self.slope[kind] > 0 or self.spread[kind] > 0

    def reserve(self, extensions: bool) -> tuple[int, int]:
        """Bytes that a source packet leaves free for its ERASURE entry, and so that parity fits the packet size."""
        each = EXTENSION_SIZE - extensions + PARITY_EXCESS
        return each * self.covers(False), each * self.covers(True)

    def parity(self, source: int, above: bool) -> int:
        """m of a group of k source packets. Rounded up, but for crumbs of floating-point arithmetic."""
        return max(ceil(self.slope[above] * source + self.spread[above] * sqrt(source) - 1e-9), 0)

    def sizes(self, source: int, above: bool) -> list[tuple[int, int]]:
        """(k, m) of the groups that so many source packets of a layer make, as equal as can be."""
        groups = 1
        while True:
            largest = ceil(source / groups)
            if largest + self.parity(largest, above) <= MAX_GROUP or largest <= 1:
                break
            groups += 1
        sizes = [source // groups + (g < source % groups) for g in range(groups)]
        return [(k, min(self.parity(k, above), MAX_GROUP - k)) for k in sizes]

    def source_share(self, source: int) -> float:
        """About which share of a stream's packets carries sources, for first guesses."""
        if self.together:
            return source / (source + self.parity(source, False))
        share = sum(self.parity(max(source // 2, 1), above) for above in (False, True))
        return source / (source + share)


def protect(packets: Sequence[Packet], protection: Protection) -> list[bytes]:
    """Number source packets into groups and put parity packets behind the layers that they protect.

    Args:
        packets: source packets of one description and index, in sending order, none with an ERASURE entry.

    Raises:
        InputError: more than 256 groups.
    """
    out: list[bytes] = []
    numbered = 0
    for above in (False,) if protection.together else (False, True):
        sources = [p for p in packets if protection.together or begins_above(p) == above]
        sizes = protection.sizes(len(sources), above) if sources and protection.covers(above) else []
        if not any(m for _, m in sizes):
            out += map(pack, sources)
            continue
        if numbered + len(sizes) > MAX_GROUPS:
            raise InputError(f"{len(packets)} packets make more than {MAX_GROUPS} erasure groups: use larger packets")
        groups: list[list[Packet]] = [[] for _ in sizes]
        for i, packet in enumerate(sources):  # dealt out, so that each group is spread over the whole picture
            g = i % len(sizes)
            entry = Extension(ExtensionType.ERASURE, ERASURE.pack(numbered + g, len(groups[g])))
            groups[g].append(replace(packet, extensions=(entry, *packet.extensions)))
            out.append(pack(groups[g][-1]))
        parities = [parity_packets(group, numbered + g, sizes[g][1]) for g, group in enumerate(groups)]
        out += [p for turn in zip_longest(*parities) for p in turn if p is not None]
        numbered += len(sizes)
    return out


def spread(packets: Sequence[bytes]) -> list[bytes]:
    """Packets in an order in which a burst takes little of layer 0.

    Layer 0 and what protects it stand between the others at equal distances, neighbours of the usual order far apart
    (multiples of the golden section). What came first is no longer coarse.
    """
    parsed = [unpack(p)[0] for p in packets]
    groups = {p.erasure[0] for p in parsed if p.erasure and not begins_above(p)}

    def is_base(packet: Packet) -> bool:
        if packet.kind == Kind.PARITY:
            return PARITY.unpack_from(packet.body)[0] in groups
        return not begins_above(packet)

    base: list[bytes] = []
    above: list[bytes] = []
    for data, packet in zip(packets, parsed, strict=True):
        (base if is_base(packet) else above).append(data)
    placed = [((i + 0.5) / len(some), data) for some in (_strided(base), above) for i, data in enumerate(some)]
    return [data for _, data in sorted(placed, key=lambda item: item[0])]


def _strided(packets: list[bytes]) -> list[bytes]:
    n = len(packets)
    if n < 3:
        return packets
    stride = next(s for s in range(round(n * GOLDEN_SECTION), 2 * n) if gcd(s, n) == 1)
    return [packets[i * stride % n] for i in range(n)]


def begins_above(packet: Packet) -> bool:
    """Whether a packet begins above layer 0: which of the two protections it gets."""
    return bool(packet.sections) and packet.sections[0].layer > LAYER_FIRST


def parity_packets(sources: Sequence[Packet], group: int, parity: int) -> list[bytes]:
    """The m parity packets of one group's source packets, which carry their ERASURE entries."""
    if not parity:
        return []
    parts = [protected_part(pack(p), p.description) for p in sources]
    rows = np.zeros((len(parts), LENGTH.size + max(map(len, parts))), np.uint8)
    for row, part in zip(rows, parts, strict=True):
        row[: LENGTH.size + len(part)] = np.frombuffer(LENGTH.pack(len(part)) + part, np.uint8)
    first = sources[0]
    return [
        pack(
            Packet(
                first.description,
                first.index,
                kind=Kind.PARITY,
                body=PARITY.pack(group, len(sources) + i, len(sources), parity) + row.tobytes(),
            )
        )
        for i, row in enumerate(parity_rows(rows, parity))
    ]


def restore(description: Description, index: int, group: int, position: int, protected: bytes) -> bytes:
    """The packed source packet around its protected part: the inverse of wire.protected_part."""
    entry = Extension(ExtensionType.ERASURE, ERASURE.pack(group, position))
    empty = pack(Packet(description, index, extensions=(entry,)))
    head = bytearray(empty[: -CRC.size - 1] + protected)
    if len(head) + CRC.size > MAX_PACKET:
        raise InputError(f"restored packet of {len(head) + CRC.size} bytes: at most {MAX_PACKET}")
    LENGTH.pack_into(head, HEADER.size - LENGTH.size, len(head) + CRC.size)
    return bytes(head) + CRC.pack(zlib.crc32(head))
