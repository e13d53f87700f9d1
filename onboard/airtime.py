"""Time on the air as a budget, and what common radios carry. Sources are cited beside each number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onboard.errors import InputError
from onboard.wire import HEADER, MIN_PACKET


@dataclass(frozen=True)
class Radio:
    """A radio protocol that carries one packet in each of its frames.

    Attributes:
        payload: most bytes of a packet.
        overhead: bytes that a frame takes on the air beside the packet, at the bit rate of the packet.
        source: where the two numbers come from.
    """

    payload: int
    overhead: int
    source: str


RADIOS = {
    "ax25": Radio(
        256,
        20,
        "AX.25 v2.2 (1998), UI frame: two flags, 14 bytes of addresses, control, PID, 2 bytes FCS; N1 is 256 by "
        "default. Bit stuffing, 1.6 % for random bits, comes on top",
    ),
    "lora": Radio(
        255,
        28,
        "Semtech SX1276/77/78/79 datasheet, section 4.1.1: packets of 255 bytes; time on air at SF12, CR 4/5, 8 "
        "symbols of preamble, explicit header and CRC, at the nominal rate SF * BW / 2^SF * 4/5 (SF7: 19 bytes)",
    ),
    "mavlink": Radio(
        253,
        14,
        "MAVLink 2 packet format: 10 bytes header, 2 bytes checksum, unsigned; message ENCAPSULATED_DATA (131): 2 "
        "bytes sequence number, 253 bytes data",
    ),
    "ccsds": Radio(
        1097,
        18,
        "CCSDS 133.0-B-2: space packet header of 6 bytes; CCSDS 132.0-B: one packet in a TM transfer frame of 1115 "
        "bytes (131.0-B: RS(255,223), depth 5) with 6 bytes header, 4 bytes OCF, 2 bytes FECF; channel coding comes "
        "on top",
    ),
}


def airtime_bytes(bitrate: float, seconds: float) -> int:
    """Whole bytes that a bit rate carries in some seconds. Raises InputError."""
    if not (0 < bitrate < 1e12 and 0 < seconds < 1e9):
        raise InputError(f"{bitrate} bits per second for {seconds} s: both must be more than 0")
    found = int(bitrate * seconds / 8 + 1e-6)
    if found < HEADER.size:
        raise InputError(f"{bitrate} bits per second for {seconds} s carry {found} bytes: less than a packet")
    return found


def check_framing(packet_size: int, overhead: int, radio: Radio | None) -> None:
    """Raise InputError when packets do not fit the radio or the overhead makes no sense."""
    if radio is not None and packet_size > radio.payload:
        raise InputError(f"packets of {packet_size} bytes: this radio carries {MIN_PACKET} to {radio.payload}")
    if overhead < 0:
        raise InputError(f"framing of {overhead} bytes: must not be negative")


def seconds_on_air(packets: Iterable[int], overhead: int, bitrate: float) -> float:
    """How long packets of the given sizes take, framing included."""
    return sum(8 * (size + overhead) for size in packets) / bitrate
