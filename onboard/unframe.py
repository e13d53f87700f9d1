"""Frames back to packets, on the ground and of what a board kept. Found ones are checked by their own CRC-32."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from onboard.errors import InputError
from onboard.framing import (
    ADDRESS,
    CONTROL_UI,
    FEND,
    FESC,
    KISS_DATA,
    LAST,
    MAX_APID,
    PID_NONE,
    SPACE_PACKET,
    TFEND,
    TFESC,
    UNSEGMENTED,
)
from onboard.wire import CRC, HEADER, LENGTH, MAGIC, MAX_PACKET

UNFRAMINGS = ("auto", "none", "ccsds", "kiss")
MAX_ADDRESSES = 10  # AX.25: destination, source, up to eight digipeaters in version 2.0
LONGEST_FRAME = 2 * (MAX_PACKET + MAX_ADDRESSES * ADDRESS) + 64  # every byte escaped


def unframe(data: bytes, framing: str = "auto", apid: int | None = None) -> bytes:
    """Packets one after another, with whatever could not be told from garbage between them.

    Args:
        data: a capture.
        framing: one of UNFRAMINGS; "auto" takes KISS where a frame of it holds one of our packets whole, else CCSDS
            headers off where there are any.
        apid: with CCSDS, take packets of this APID only.
    """
    if framing not in UNFRAMINGS:
        raise InputError(f"framing {framing!r}: must be one of {', '.join(UNFRAMINGS)}")
    if framing == "kiss" or (framing == "auto" and apid is None and is_kiss(data)):
        return b"".join(map(strip_ax25, kiss_payloads(data)))
    if framing == "ccsds" or (framing == "auto" and (apid is not None or _next_space_packet(data, 0) < len(data))):
        return b"".join(space_packet_fields(data, apid))
    return data


def is_kiss(data: bytes) -> bool:
    """Whether a KISS frame in the data is one of our packets, whole: the two bytes before one are no proof."""
    if data.count(bytes((FEND,))) < 2:
        return False
    return any(map(_is_packet, map(strip_ax25, kiss_payloads(data))))


def _is_packet(data: bytes) -> bool:
    if int.from_bytes(data[:2], "big") >> 4 != MAGIC or len(data) < HEADER.size + CRC.size:
        return False
    return zlib.crc32(data[: -CRC.size]) == CRC.unpack(data[-CRC.size :])[0]


def kiss_payloads(data: bytes) -> Iterator[bytes]:
    """Data frames of a KISS stream, unescaped. A frame may be cut at either end; its packet then fails its CRC."""
    for part in data.split(bytes((FEND,))):
        if part and part[0] & 15 == KISS_DATA:
            yield _unescape(part[1:])


def _unescape(part: bytes) -> bytes:
    pieces = part.split(bytes((FESC,)))
    for i, piece in enumerate(pieces[1:], 1):  # what follows an escape; a byte that is no escaped one stays
        if piece[:1] == bytes((TFEND,)):
            pieces[i] = bytes((FEND,)) + piece[1:]
        elif piece[:1] == bytes((TFESC,)):
            pieces[i] = bytes((FESC,)) + piece[1:]
    return b"".join(pieces)


def strip_ax25(frame: bytes) -> bytes:
    """The information field of a UI frame; a frame that is none as it is."""
    for n in range(2, MAX_ADDRESSES + 1):
        end = n * ADDRESS
        if len(frame) < end + 2:
            break
        if frame[end - 1] & LAST:
            return frame[end + 2 :] if frame[end : end + 2] == bytes((CONTROL_UI, PID_NONE)) else frame
    return frame


def space_packet_fields(data: bytes, apid: int | None) -> Iterator[bytes]:
    """Data fields of the space packets in a capture, found by our own header behind theirs, so garbage between is
    skipped; bytes that belong to no space packet are passed on, for the report to count."""
    at = 0
    while at < len(data):
        end = _space_packet_at(data, at)
        if end is None:
            following = _next_space_packet(data, at + 1)
            yield data[at:following]
            at = following
            continue
        if apid is None or SPACE_PACKET.unpack_from(data, at)[0] & MAX_APID == apid:
            yield data[at + SPACE_PACKET.size : end]
        at = end


def _next_space_packet(data: bytes, at: int) -> int:
    """Offset of the first space packet from here on with one of our packets in it, or the end of the data."""
    first = bytes((MAGIC >> 4,))
    while (found := data.find(first, at + SPACE_PACKET.size)) >= 0:
        at = found - SPACE_PACKET.size
        if _space_packet_at(data, at) is not None:
            return at
        at += 1
    return len(data)


def _space_packet_at(data: bytes, at: int) -> int | None:
    """End of the space packet at an offset if it holds one of our packets, by both length fields; else None."""
    begin = at + SPACE_PACKET.size
    if len(data) < begin + HEADER.size:
        return None
    head, sequence, last = SPACE_PACKET.unpack_from(data, at)
    length = LENGTH.unpack_from(data, begin + HEADER.size - LENGTH.size)[0]
    ours = int.from_bytes(data[begin : begin + 2], "big") >> 4 == MAGIC
    telemetry = head >> 11 == 0 and sequence & UNSEGMENTED == UNSEGMENTED
    return begin + last + 1 if ours and telemetry and length == last + 1 else None


class Unframer:
    """Takes frames off a stream that comes in pieces: what may still become a whole packet waits for the next piece.

    No more than one packet (or frame, escaped) of bytes ever waits.
    """

    def __init__(self, framing: str = "auto", apid: int | None = None) -> None:
        self._framing, self._apid, self._rest = framing, apid, b""

    def feed(self, data: bytes, *, final: bool = False) -> bytes:
        """Packets and garbage, as unframe() gives them, of what is settled by now; all that is left when final."""
        data = self._rest + data
        if self._framing == "auto" and self._apid is None and (data[:1] == bytes((FEND,)) or is_kiss(data)):
            self._framing = "kiss"
        settled = len(data) if final else _settled_kiss(data) if self._framing == "kiss" else _settled(data)
        self._rest = data[settled:]
        return unframe(data[:settled], self._framing, self._apid)


def _settled_kiss(data: bytes) -> int:
    """Bytes before the last frame end: no later piece changes what they mean."""
    end = data.rfind(bytes((FEND,)))
    return end if end > 0 else 0 if len(data) < LONGEST_FRAME else len(data)


def _settled(data: bytes) -> int:
    """Bytes before what may be a packet that has not come whole, and before the space packet header it may have."""
    first = bytes((MAGIC >> 4,))
    at = done = 0
    while True:
        at = data.find(first, at)
        if at < 0:
            return max(done, len(data) - SPACE_PACKET.size)
        if len(data) - at < HEADER.size:
            return max(done, at - SPACE_PACKET.size)
        end = at + LENGTH.unpack_from(data, at + HEADER.size - LENGTH.size)[0]
        if data[at + 1] >> 4 == MAGIC & 15 and end >= at + HEADER.size + CRC.size:
            if end > len(data):
                return max(done, at - SPACE_PACKET.size)
            if zlib.crc32(memoryview(data)[at : end - CRC.size]) == CRC.unpack_from(data, end - CRC.size)[0]:
                at = done = end
                continue
        at += 1
