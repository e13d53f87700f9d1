"""Erasure groups of the single-pass mode: one open in each layer, closed when it is full. FORMAT.md section 2.6."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from onboard.erasure import EXTENSION_SIZE, MAX_GROUP, MAX_GROUPS, PARITY_EXCESS, begins_above, parity_packets
from onboard.errors import InputError
from onboard.stream_rate import Rate
from onboard.wire import ERASURE, Extension, ExtensionType, Packet, pack

MAX_PARITY = 16  # packets of a group, which a microcontroller keeps in memory while the group is open
USUAL_PARITY = 2


@dataclass(frozen=True)
class Group:
    """At most `source` packets (k), then `parity` packets (m); without parity there are no groups."""

    source: int = 1
    parity: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.parity <= MAX_PARITY and 1 <= self.source <= MAX_GROUP - self.parity):
            raise InputError(
                f"erasure group of {self.source} + {self.parity}: at most {MAX_PARITY} parity and {MAX_GROUP} packets"
            )

    @classmethod
    def percent(cls, share: float) -> Group:
        """The group that has about that many parity packets for a hundred source packets."""
        if share == 0:
            return cls()
        if not 1 <= share <= 100 * MAX_PARITY:
            raise InputError(f"parity {share}: must be 0, or 1 to {100 * MAX_PARITY} percent in a stream")
        parity = max(USUAL_PARITY, ceil(share / 100))
        return cls(max(int(100 * parity / share), 1), parity)

    def entry(self) -> int:
        """Bytes of a source packet's extension list."""
        return EXTENSION_SIZE if self.parity else 0

    def reserve(self) -> int:
        """Bytes that a source packet leaves free, for the list and so that parity fits the packet size."""
        return EXTENSION_SIZE + PARITY_EXCESS if self.parity else 0


class Protector:
    """Puts packets into groups. A group may begin only when the quota has room for its parity, which is held back from
    then on; without it the layer goes on unprotected. Packets of a group have one index: another one closes it."""

    def __init__(self, groups: tuple[Group, Group], rate: Rate | None, packet_size: int) -> None:
        self.groups, self.rate, self.packet_size = groups, rate, packet_size
        self.numbered = 0
        self.number = [0, 0]
        self.promised = [False, False]
        self.open: list[list[Packet]] = [[], []]
        for layer in (0, 1):
            self._begin(layer)

    def emit(self, packet: Packet) -> Iterator[bytes]:
        """A source packet, and the parity packets that come before and behind it."""
        layer = int(begins_above(packet))
        if self.open[layer] and self.open[layer][0].index != packet.index:
            yield from self._close(layer)
        if not self.promised[layer]:
            yield pack(packet)
            return
        entry = Extension(ExtensionType.ERASURE, ERASURE.pack(self.number[layer], len(self.open[layer])))
        self.open[layer].append(replace(packet, extensions=(entry,)))
        yield pack(self.open[layer][-1])
        if len(self.open[layer]) == self.groups[layer].source:
            yield from self._close(layer)

    def finish(self) -> Iterator[bytes]:
        for layer in (0, 1):
            if self.open[layer]:
                yield from self._close(layer)

    def _close(self, layer: int) -> Iterator[bytes]:
        made = parity_packets(self.open[layer], self.number[layer], self.groups[layer].parity)
        yield from made
        if self.rate:
            self.rate.spent += 8 * (sum(map(len, made)) - len(made) * self.packet_size)
        self._begin(layer)

    def _begin(self, layer: int) -> None:
        held = 8 * self.groups[layer].parity * self.packet_size
        self.open[layer] = []
        self.promised[layer] = bool(held) and self.numbered < MAX_GROUPS
        if self.rate and held > self.rate.room(0):
            self.promised[layer] = False
        if self.promised[layer]:
            self.number[layer] = self.numbered
            self.numbered += 1
            if self.rate:
                self.rate.spent += held
