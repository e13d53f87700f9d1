"""Hostile input: every truncation, seeded corruptions and foreign bytes end in a typed error or a flagged picture."""

from __future__ import annotations

import numpy as np
import pytest

import onboard
from onboard.errors import OnboardError
from onboard.scan import scan
from onboard.wire import CRC, pack, unpack
from tests.make_vectors import colour_scene, scene

SMALL = onboard.compress(scene(40, 61, 1), quality=30, packet_size=64)
PREVIEW = onboard.compress(scene(80, 300, 7), quality=30, scale=2)
STREAMS = [
    SMALL,
    onboard.compress(scene(70, 90, 2), quality=60, packet_size=150, interleave=4),
    onboard.compress(colour_scene(50, 60, 3), quality=50, packet_size=100),
    onboard.compress(scene(64, 64, 4).astype(np.uint16) * 16, quality=40, metadata="m"),
    onboard.compress(scene(70, 90, 5), bpp=1.5, packet_size=150, interleave=2),
    onboard.compress(colour_scene(40, 50, 6), lossless=True, packet_size=400),
    PREVIEW + onboard.refine(scene(80, 300, 7), PREVIEW, bpp=1, regions=[(230, 20, 60, 40)], packet_size=100),
]


def survives(data: bytes) -> bool:
    """True when a picture came out; only errors of our own are let through."""
    try:
        decoded = onboard.decompress(data, enhance="plain", max_pixels=1 << 16)
    except OnboardError:
        return False
    assert set(np.unique(decoded.mask)) <= {0, 1, 2, *range(3, 16), 255}
    assert 0 <= decoded.report["received"] <= 1
    return True


def test_every_truncation_gives_an_error_or_a_partial_picture() -> None:
    whole = onboard.decompress(SMALL).report["received"]
    assert whole == 1.0
    first = len(pack(unpack(SMALL)[0]))
    for length in range(len(SMALL)):
        assert survives(SMALL[:length]) == (length >= first)


def test_corrupt_sections_behind_a_valid_checksum_never_crash_the_decoder() -> None:
    """What a CRC would catch on a real link is let through here, so that the parsers meet it."""
    rng = np.random.default_rng(7)
    for i in range(3000):
        packets, _ = scan(STREAMS[i % len(STREAMS)])
        packet = packets[int(rng.integers(len(packets)))]
        raw = bytearray(pack(packet))[: -CRC.size]
        for _ in range(int(rng.integers(1, 6))):
            raw[int(rng.integers(11, len(raw)))] = int(rng.integers(256))
        raw[15:17] = (len(raw) + CRC.size).to_bytes(2, "big")
        import zlib

        survives(bytes(raw) + CRC.pack(zlib.crc32(raw)))


def test_packets_between_garbage_are_all_found() -> None:
    rng = np.random.default_rng(3)
    packets, _ = scan(SMALL)
    stream = b"".join(rng.bytes(int(rng.integers(0, 300))) + pack(p) for p in packets) + b"\x0b\xc1" * 20
    found, report = scan(stream)
    assert found == packets
    assert report.skipped_bytes == len(stream) - len(SMALL)


def test_a_header_that_claims_a_huge_picture_is_refused_before_memory_is_taken() -> None:
    packet, _ = unpack(onboard.compress(scene(16, 16, 1), quality=50))
    from dataclasses import replace

    huge = pack(replace(packet, description=replace(packet.description, width=65535, height=65535)))
    with pytest.raises(OnboardError, match="65535x65535"):
        onboard.decompress(huge)


@pytest.mark.parametrize("data", [b"", b"\0", b"\x89PNG\r\n\x1a\n" * 50, b"\xff" * 5000, b"\x0b\xc1" * 3000])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(OnboardError, match="no usable packet"):
        onboard.decompress(data)


def test_an_unknown_model_is_an_error_that_names_the_known_ones() -> None:
    packet, _ = unpack(onboard.compress(scene(16, 16, 1), quality=50))
    from dataclasses import replace

    own = packet.description.model_id
    other = pack(replace(packet, description=replace(packet.description, model_id=own ^ 1)))
    with pytest.raises(OnboardError, match=f"{own:04x}"):
        onboard.decompress(other)
