"""Any run of bytes to the packets in it, with what lies between them skipped and counted. FORMAT.md section 2.5."""

from __future__ import annotations

from dataclasses import dataclass

from onboard.errors import NothingDecodableError, PacketError, VersionError
from onboard.wire import CRC, HEADER, LENGTH, MAGIC, Packet, unpack


@dataclass
class ScanReport:
    """What a scan of raw bytes met beside usable packets.

    Attributes:
        skipped_bytes: bytes that belong to no packet.
        corrupt: places that look like a packet but fail its checks.
        other_versions: whole packets of versions this decoder does not know.
        unknown: whole packets with fields this decoder does not know.
    """

    packets: int = 0
    skipped_bytes: int = 0
    corrupt: int = 0
    other_versions: int = 0
    unknown: int = 0

    def merge(self, other: ScanReport) -> None:
        """Add the counts of another scan of the same source."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


def scan(data: bytes) -> tuple[list[Packet], ScanReport]:
    """All packets in a run of bytes, with whatever lies between them skipped and counted."""
    packets: list[Packet] = []
    report = ScanReport()
    first = bytes((MAGIC >> 4,))
    at = claimed = 0  # up to where a corrupt packet says that it goes: what looks like a packet in it is no other one
    while at < len(data):
        try:
            packet, end = unpack(data, at)
            packets.append(packet)
            at = claimed = _behind(data, end)
            continue
        except VersionError as e:
            report.other_versions += 1
            end = e.end or len(data)
        except PacketError as e:
            if e.end is not None:
                report.unknown += 1
                end = e.end
            else:
                if at >= claimed and _looks_like_packet(data, at):
                    report.corrupt += 1
                    claimed = at + int.from_bytes(data[at + HEADER.size - LENGTH.size : at + HEADER.size], "big")
                end = data.find(first, at + 1)
                end = len(data) if end < 0 else end
        report.skipped_bytes += end - at
        at = end
    report.packets = len(packets)
    return packets, report


def scan_usable(data: bytes) -> tuple[list[Packet], ScanReport]:
    """The same of data that must hold a packet. Raises NothingDecodableError."""
    packets, report = scan(data)
    if not packets:
        raise NothingDecodableError(f"no usable packet in {len(data)} bytes, {report.corrupt} corrupt")
    return packets, report


def _behind(data: bytes, end: int) -> int:
    """Where to go on behind a whole packet: one that lost its last byte gets it back when the next packet begins with
    the same, and the next then begins before this one's end."""
    for begin in range(end - CRC.size + 1, end):
        if _looks_like_packet(data, begin):
            try:
                unpack(data, begin)
            except PacketError as e:
                if e.end is None:
                    continue
            return begin
    return end


def _looks_like_packet(data: bytes, at: int) -> bool:
    return len(data) - at >= 2 and int.from_bytes(data[at : at + 2], "big") >> 4 == MAGIC
