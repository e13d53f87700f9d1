"""Sections to packets of at most a given size, in the order in which they come."""

from __future__ import annotations

from dataclasses import replace

from onboard.errors import InputError
from onboard.wire import (
    CRC,
    LAYER_FIRST,
    MAX_PACKET,
    MIN_PACKET,
    Description,
    Extension,
    Packet,
    Section,
    header_size,
    pack,
    section_header,
)

LENGTH_FIELD = 2  # bytes, of a section that is not its packet's last
LEAST_PAYLOAD = 22  # bytes of sections that any packet must be able to hold: 48 - 17 - 5 - 4
LEAST_ROOM = 12  # bytes of payload below which a section is not begun in a packet that already has one


def least_size(description: Description, extensions: tuple[Extension, ...], reserve: tuple[int, int] = (0, 0)) -> int:
    """The smallest packet size in bytes with which every block finds room."""
    return max(MIN_PACKET, header_size(description, extensions) + CRC.size + max(reserve) + LEAST_PAYLOAD)


def check_size(
    description: Description, packet_size: int, extensions: tuple[Extension, ...], reserve: tuple[int, int]
) -> None:
    """Raise InputError for a packet size that is too small or too large."""
    least = least_size(description, extensions, reserve)
    if not least <= packet_size <= MAX_PACKET:
        raise InputError(f"packet size {packet_size}: must be {least} to {MAX_PACKET} bytes")


class Packer:
    """Fills packets of at most `size` bytes with sections, in order. Raises InputError for a size out of range."""

    def __init__(
        self,
        description: Description,
        index: int,
        packet_size: int,
        extensions: tuple[Extension, ...],
        reserve: tuple[int, int] = (0, 0),
    ) -> None:
        check_size(description, packet_size, extensions, reserve)
        self._overhead = header_size(description, extensions) + CRC.size
        self._reserve = reserve  # of packets that begin with layer 0, and above
        self._packet = Packet(description, index, (), extensions)
        self.size = packet_size
        self._sections: list[Section] = []
        self._free = self._room = 0  # bytes for sections in the packet that is being filled
        self._done: list[Packet] = []
        self._done_size = 0

    def room(self, plane: int, layer: int, phase: int, begin: int) -> int:
        """Payload bytes that a section beginning at this block may use; starts a new packet when few are left."""
        while True:
            if not self._sections:
                self._free = self._room = self.size - self._overhead - self._reserve[layer > LAYER_FIRST]
            room = self._free - len(section_header(plane, layer, phase, begin, None))
            if self._sections:
                room -= LENGTH_FIELD
            if room >= LEAST_ROOM or not self._sections:
                return room
            self._flush()

    def add(self, section: Section, plane_done: bool) -> None:
        """Put a section in the packet; one that does not end its plane has filled the packet."""
        head = section_header(section.plane, section.layer, section.phase, section.first, None)
        self._free -= len(head) + len(section.payload) + (LENGTH_FIELD if self._sections else 0)
        self._sections.append(section)
        if not plane_done:
            self._flush()

    @property
    def used(self) -> int:
        """Bytes of all packets so far, without what erasure packets need of them."""
        return self._done_size + (self._overhead + self._room - self._free if self._sections else 0)

    def flush_started(self) -> bool:
        """Close the packet if it has sections; True when there was one to close."""
        if not self._sections:
            return False
        self._flush()
        return True

    def packed(self) -> list[bytes]:
        """All packets, serialised."""
        return [pack(p) for p in self.finish()]

    def finish(self) -> list[Packet]:
        self.flush_started()
        return self._done

    def _flush(self) -> None:
        self._done_size = self.used
        self._done.append(replace(self._packet, sections=tuple(self._sections)))
        self._sections = []
