"""The transmit queue: coarse to fine across pictures, the older picture first within a layer."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from firmware_sim.board import Preview


class Entry(NamedTuple):
    """A packet that waits: sorted by lowest layer, picture number, place in the encoder's order."""

    level: int
    number: int
    place: int


class Queue:
    """Packets that wait for a contact. A packet is in it at most once."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._sizes: dict[Entry, int] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, preview: Preview, indices: Iterable[int] | None = None) -> int:
        """Add packets of a picture, all by default; returns how many were not there yet."""
        added = 0
        for i in range(len(preview.packets)) if indices is None else indices:
            entry = Entry(preview.levels[i], preview.frame.number, i)
            if entry not in self._sizes:
                heapq.heappush(self._heap, entry)
                self._sizes[entry] = len(preview.packets[i])
                self.bytes += len(preview.packets[i])
                added += 1
        return added

    def first(self) -> tuple[Entry, int]:
        """The packet to send next and its bytes; it stays."""
        return self._heap[0], self._sizes[self._heap[0]]

    def pop(self) -> Entry:
        entry = heapq.heappop(self._heap)
        self.bytes -= self._sizes.pop(entry)
        return entry
