"""Erasure packets, the ground's half: lost source packets out of the packets that came. FORMAT.md section 2.6."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from onboard.erasure import MAX_GROUP, POWERS, multiply, restore
from onboard.errors import InputError, PacketError
from onboard.wire import LENGTH, PARITY, Packet, unpack


@dataclass
class Group:
    """What came of one erasure group: the bytes of each packet that the code runs over, by index within the group."""

    source_count: int
    parity_count: int
    width: int
    rows: dict[int, bytes] = field(default_factory=dict)


def recover(sources: Iterable[Packet], parity: Iterable[Packet]) -> list[Packet]:
    """Source packets that did not come, out of those of one description that did.

    Nothing is trusted: groups whose numbers cannot be right, or whose packets contradict each other, restore nothing.
    Work and memory are bounded by the bytes of the parity packets, at most 255 times.
    """
    groups = _parity_groups(parity)
    if not groups:
        return []
    one = next(iter(groups.values()))[1]
    for packet in sources:
        where = packet.erasure
        if where is None or (packet.index, where[0]) not in groups:
            continue
        group = groups[packet.index, where[0]][0]
        row = LENGTH.pack(len(packet.protected)) + packet.protected
        if where[1] < group.source_count and len(row) <= group.width:
            group.rows.setdefault(where[1], row.ljust(group.width, b"\0"))
    found = []
    for (index, number), (group, _) in groups.items():
        for position, row in _missing_rows(group).items():
            length = LENGTH.unpack_from(row)[0]
            try:
                data = restore(one.description, index, number, position, row[LENGTH.size : LENGTH.size + length])
                found.append(unpack(data)[0])
            except (InputError, PacketError):
                continue
    return found


def _parity_groups(parity: Iterable[Packet]) -> dict[tuple[int, int], tuple[Group, Packet]]:
    """Groups by quantiser index and number; the first parity packet of a group says what the group is."""
    groups: dict[tuple[int, int], tuple[Group, Packet]] = {}
    for packet in parity:
        if len(packet.body) < PARITY.size + LENGTH.size:
            continue
        number, position, k, m = PARITY.unpack_from(packet.body)
        row = packet.body[PARITY.size :]
        if not (k >= 1 and m >= 1 and k + m <= MAX_GROUP and k <= position < k + m):
            continue
        group, _ = groups.setdefault((packet.index, number), (Group(k, m, len(row)), packet))
        if (group.source_count, group.parity_count, group.width) == (k, m, len(row)):
            group.rows.setdefault(position, row)
    return groups


def _missing_rows(group: Group) -> dict[int, bytes]:
    """The source rows that did not come, by index; empty when too few packets came or they contradict each other."""
    n = group.source_count + group.parity_count
    lost = [i for i in range(n) if i not in group.rows]
    if len(lost) > group.parity_count or not lost or lost[0] >= group.source_count:
        return {}
    # A codeword is a polynomial, its first packet the highest power; it is 0 at 2^0 .. 2^(m-1).
    syndromes = np.zeros((group.parity_count, group.width), np.uint8)
    roots = np.arange(group.parity_count)
    for position, row in group.rows.items():
        weights = POWERS[roots * (n - 1 - position) % 255]
        syndromes ^= multiply(weights[:, None], np.frombuffer(row, np.uint8)[None, :])
    powers = POWERS[np.outer(roots, [n - 1 - i for i in lost]) % 255]
    solved = _solve(powers[: len(lost)], syndromes[: len(lost)])
    for j in range(len(lost), group.parity_count):  # more packets than needed: they must agree
        check = syndromes[j].copy()
        for weight, row in zip(powers[j], solved, strict=True):
            check ^= multiply(weight, row)
        if check.any():
            return {}
    rows = {i: row.tobytes() for i, row in zip(lost, solved, strict=True) if i < group.source_count}
    return rows if all(_is_padded(row) for row in rows.values()) else {}


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a Vandermonde system over GF(256), which is never singular: uint8 (e, e) and (e, n) to (e, n)."""
    a, b = matrix.copy(), right.copy()
    size = len(a)
    for i in range(size):
        pivot = i + int(np.flatnonzero(a[i:, i])[0])
        a[[i, pivot]], b[[i, pivot]] = a[[pivot, i]], b[[pivot, i]]
        inverse = POWERS[-np.flatnonzero(POWERS[:255] == a[i, i])[0] % 255]
        a[i], b[i] = multiply(inverse, a[i]), multiply(inverse, b[i])
        others = np.flatnonzero(a[:, i])
        others = others[others != i]
        factors = a[others, i]
        a[others] ^= multiply(factors[:, None], a[i][None, :])
        b[others] ^= multiply(factors[:, None], b[i][None, :])
    return b


def _is_padded(row: bytes) -> bool:
    """Whether a restored row's length field holds and only zeros follow what it counts."""
    end = LENGTH.size + LENGTH.unpack_from(row)[0]
    return end <= len(row) and not any(row[end:])
