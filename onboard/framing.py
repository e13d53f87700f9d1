"""Packets in the frames that radios and ground stations speak: CCSDS space packets, and AX.25 UI frames over KISS.

The board writes these, `unframe` takes them off again, with the constants here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from struct import Struct

from onboard.errors import InputError

FRAMINGS = ("none", "ccsds", "kiss")

# CCSDS 133.0-B-2, section 4.1.3: version 000, type 0 (telemetry), no secondary header, APID; unsegmented (11), count
SPACE_PACKET = Struct(">HHH")
MAX_APID = 0x7FF
IDLE_APID = 0x7FF  # section 4.1.3.3.4.4
UNSEGMENTED = 0xC000
MAX_COUNT = 0x3FFF

# KISS: Chepponis and Karn, "The KISS TNC", 6th ARRL Computer Networking Conference, 1987
FEND, FESC, TFEND, TFESC = 0xC0, 0xDB, 0xDC, 0xDD
KISS_DATA = 0x00

# AX.25 v2.2, sections 3.12 and 4.3.3.6
CONTROL_UI = 0x03
PID_NONE = 0xF0
ADDRESS = 7
SSID_RESERVED = 0x60
COMMAND = 0x80
LAST = 0x01
# Bytes of a frame beside its packet. KISS escapes, one in 128 bytes, come on top, as bit stuffing does on the air.
HEADERS = {"none": 0, "ccsds": SPACE_PACKET.size, "kiss": 3 + 2 * ADDRESS + 2}
_CALL = re.compile(r"([A-Z0-9]{1,6})(?:-(\d|1[0-5]))?")


def space_packet(packet: bytes, apid: int, count: int) -> bytes:
    """One packet as a space packet. Raises InputError."""
    if not 0 <= apid < IDLE_APID:
        raise InputError(f"APID {apid}: must be 0 to {IDLE_APID - 1}")
    return SPACE_PACKET.pack(apid, UNSEGMENTED | count & MAX_COUNT, len(packet) - 1) + packet


def address(call: str, *, command: bool, last: bool) -> bytes:
    """An AX.25 address field of a call sign such as "OB1TST-7". Raises InputError."""
    match = _CALL.fullmatch(call.upper())
    if not match:
        raise InputError(f"call sign {call!r}: must be 1 to 6 letters and digits, and perhaps -0 to -15")
    ssid = SSID_RESERVED | int(match[2] or 0) << 1 | COMMAND * command | LAST * last
    return bytes(ord(c) << 1 for c in match[1].ljust(6)) + bytes((ssid,))


def ui_frame(packet: bytes, source: str, destination: str) -> bytes:
    """One packet as an AX.25 UI frame, without flags and FCS, which the TNC adds."""
    head = address(destination, command=True, last=False) + address(source, command=False, last=True)
    return head + bytes((CONTROL_UI, PID_NONE)) + packet


def kiss_frame(data: bytes) -> bytes:
    """One frame for a TNC's port 0."""
    escaped = data.replace(bytes((FESC,)), bytes((FESC, TFESC))).replace(bytes((FEND,)), bytes((FESC, TFEND)))
    return bytes((FEND, KISS_DATA)) + escaped + bytes((FEND,))


def frame(packets: Iterable[bytes], framing: str, apid: int, source: str, destination: str) -> bytes:
    """All packets, framed one by one."""
    if framing == "ccsds":
        return b"".join(space_packet(p, apid, i) for i, p in enumerate(packets))
    if framing == "kiss":
        return b"".join(kiss_frame(ui_frame(p, source, destination)) for p in packets)
    return b"".join(packets)
