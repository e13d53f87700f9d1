"""Packets on the wire: what is packed comes back, and nothing else gets through."""

from __future__ import annotations

import random
import re
import struct
import zlib
from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard import wire
from onboard.errors import InputError, PacketError, VersionError
from onboard.scan import ScanReport, scan
from onboard.wire import Colour, Curve, Description, Extension, Kind, Packet, Section, Window, pack, unpack
from tests import reference

U16 = st.integers(0, 65535)


@st.composite
def windows(draw) -> Window:
    depth = draw(st.integers(9, 16))
    low, high = sorted(draw(st.lists(st.integers(0, (1 << depth) - 1), min_size=2, max_size=2, unique=True)))
    return Window(depth, draw(st.sampled_from(Curve)), draw(st.booleans()), low, high)


descriptions = st.builds(
    Description,
    picture_id=U16,
    tag=U16,
    model_id=U16,
    width=st.integers(1, 65535),
    height=st.integers(1, 65535),
    scale_log2=st.integers(0, 7),
    interleave_log2=st.integers(0, 2),
    colour=st.sampled_from(Colour),
    window=st.none() | windows(),
)
sections = st.builds(
    Section,
    plane=st.integers(0, 15),
    layer=st.integers(0, 15),
    phase=st.integers(0, 3),
    first=st.integers(0, 40) | st.integers(0, 2**27 - 1) | st.integers(0, 27).map(lambda n: (1 << n) - 1),
    payload=st.binary(max_size=40),
)
extensions = st.builds(Extension, type=st.integers(1, 255), data=st.binary(max_size=255))
packets = st.builds(
    Packet,
    description=descriptions,
    index=st.integers(0, 200),
    sections=st.lists(sections, max_size=5).map(tuple),
    extensions=st.lists(extensions, max_size=3).map(tuple),
)

# Every field differs from every other, and no byte is its field's mirror image.
DESCRIPTION = Description(
    picture_id=0x1234,
    tag=0x5678,
    model_id=0x9ABC,
    width=0x0201,
    height=0x0403,
    scale_log2=5,
    interleave_log2=2,
    colour=Colour.YCBCR420,
    window=Window(depth=12, curve=Curve.SQRT, no_data=True, low=0x0102, high=0x0304),
)
PACKET = Packet(
    DESCRIPTION,
    index=77,
    sections=(Section(1, 2, 3, 0x2A5, b"\xde\xad"), Section(0, 1, 0, 5, b"\x7f")),
    extensions=(Extension(2, b"abc"),),
)
PACKET_BEGINS = 0x0B
SPELLED_OUT = (
    "0BC1 0C 1234 5678 9ABC 0201 0403 B1 4D 002A  header: 101 scale, 10 interleave, 001 colour",
    "B3 0102 0304  window: 12 bits, curve 1, no data",
    "02 03 616263 00  extensions",
    "12 EAA5 0002 DEAD  section: 11 phase, 1 length, 01 extra, 010 10100101 first",
    "01 05 7F  section",
)


def spelled_out() -> bytes:
    body = b"".join(bytes.fromhex(line.split("  ")[0]) for line in SPELLED_OUT)
    return body + reference.crc32(body).to_bytes(4, "big")


def resealed(data: bytes | bytearray) -> bytes:
    """The same bytes with a true length and checksum."""
    data = bytearray(data)
    data[15:17] = len(data).to_bytes(2, "big")
    return bytes(data[:-4]) + zlib.crc32(data[:-4]).to_bytes(4, "big")


def test_a_packet_is_laid_out_as_spelled_out():
    assert pack(PACKET) == spelled_out()
    assert unpack(spelled_out()) == (PACKET, 42)


@given(packets)
def test_what_is_packed_comes_back(packet):
    data = pack(packet)
    assert unpack(data) == (packet, len(data))
    assert unpack(b"junk" + data + b"more", 4) == (packet, 4 + len(data))


@given(packets)
def test_the_twin_reads_the_same_fields(packet):
    d, read = packet.description, reference.read_packet(pack(packet))
    assert (read.kind, read.index) == (Kind.SOURCE, packet.index)
    assert (read.picture_id, read.tag, read.model_id) == (d.picture_id, d.tag, d.model_id)
    assert (read.width, read.height, read.colour) == (d.width, d.height, d.colour)
    assert (1 << read.scale_log2, 1 << read.interleave_log2) == (d.scale, d.interleave)
    w = d.window
    assert read.window == (w and (w.depth, w.curve, w.no_data, w.low, w.high))
    assert read.extensions == [(e.type, e.data) for e in packet.extensions]
    assert read.sections == [reference.Section(s.plane, s.layer, s.phase, s.first, s.payload) for s in packet.sections]


@given(packets)
def test_header_size_is_what_lies_before_the_first_section(packet):
    section_bytes = len(pack(packet)) - len(pack(replace(packet, sections=())))
    assert wire.header_size(packet.description, packet.extensions) + wire.CRC.size == len(pack(packet)) - section_bytes


@pytest.mark.parametrize("first", [0, 7, 8, 2047, 2048, 2**19 - 1, 2**19, 2**27 - 1])
def test_an_8_bit_picture_with_one_section_costs_at_most_26_bytes_beside_its_payload(first):
    packet = Packet(replace(DESCRIPTION, window=None), 3, (Section(2, 1, 3, first, bytes(30)),))
    assert 23 <= len(pack(packet)) - 30 <= 26
    assert unpack(pack(packet))[0] == packet


@pytest.mark.parametrize("first, size", [(0, 2), (7, 2), (8, 3), (2047, 3), (2048, 4), (2**19 - 1, 4), (2**19, 5)])
def test_the_first_block_takes_as_few_bytes_as_it_can(first, size):
    assert len(wire.section_header(2, 1, 3, first, None)) == size
    assert len(wire.section_header(2, 1, 3, first, 9)) == size + 2


@pytest.mark.parametrize("first", [-1, 2**27])
def test_a_first_block_that_has_no_room_is_refused(first):
    with pytest.raises(InputError, match="first block"):
        wire.section_header(0, 0, 0, first, None)


def test_a_packet_of_the_largest_size_fits_and_one_more_byte_does_not():
    room = wire.MAX_PACKET - len(pack(replace(PACKET, sections=(Section(0, 0, 0, 0, b""),))))
    data = pack(replace(PACKET, sections=(Section(0, 0, 0, 0, bytes(room)),)))
    assert len(data) == wire.MAX_PACKET
    assert len(unpack(data)[0].sections[0].payload) == room
    with pytest.raises(InputError, match="65536"):
        pack(replace(PACKET, sections=(Section(0, 0, 0, 0, bytes(room + 1)),)))


UNPACKABLE = {
    "index": lambda: replace(PACKET, index=201),
    "negative index": lambda: replace(PACKET, index=-1),
    "kind": lambda: replace(PACKET, kind=16),
    "negative kind": lambda: replace(PACKET, kind=-1),
    "interleave": lambda: replace(PACKET, description=replace(DESCRIPTION, interleave_log2=3)),
    "scale": lambda: replace(PACKET, description=replace(DESCRIPTION, scale_log2=8)),
    "tag": lambda: replace(PACKET, description=replace(DESCRIPTION, tag=65536)),
    "plane": lambda: replace(PACKET, sections=(Section(16, 0, 0, 0, b"x"),)),
    "layer": lambda: replace(PACKET, sections=(Section(0, 16, 0, 0, b"x"),)),
    "phase": lambda: replace(PACKET, sections=(Section(0, 0, 4, 0, b"x"),)),
    "payload": lambda: replace(PACKET, sections=(Section(0, 0, 0, 0, bytes(65536)), Section(0, 0, 0, 0, b""))),
    "extension of type 0": lambda: replace(PACKET, extensions=(Extension(0, b""),)),
    "extension of type 256": lambda: replace(PACKET, extensions=(Extension(256, b""),)),
    "extension of 256 bytes": lambda: replace(PACKET, extensions=(Extension(1, bytes(256)),)),
}


@pytest.mark.parametrize("name", UNPACKABLE)
def test_pack_refuses_what_could_not_be_unpacked_for_its(name):
    with pytest.raises(InputError):
        pack(UNPACKABLE[name]())


@pytest.mark.parametrize("width, height", [(0, 1), (1, 0), (65536, 1), (1, 65536), (-3, 5)])
def test_a_picture_of_no_or_too_large_size_is_refused(width, height):
    with pytest.raises(InputError, match="size"):
        replace(DESCRIPTION, width=width, height=height)


@pytest.mark.parametrize("name", ["scale_log2", "interleave_log2", "picture_id", "tag", "model_id"])
def test_a_description_of_what_no_header_holds_is_refused(name):
    largest = {"scale_log2": 7, "interleave_log2": 2}.get(name, 65535)
    assert getattr(replace(DESCRIPTION, **{name: largest}), name) == largest
    for value in (-1, largest + 1):
        with pytest.raises(InputError):
            replace(DESCRIPTION, **{name: value})


@pytest.mark.parametrize(
    "depth, low, high", [(8, 0, 200), (17, 0, 200), (12, 5, 5), (12, 6, 5), (12, 0, 4096), (12, -1, 9)]
)
def test_a_window_that_is_none_is_refused(depth, low, high):
    with pytest.raises(InputError, match="window"):
        Window(depth, Curve.LINEAR, False, low, high)


def test_every_truncation_is_refused():
    data = pack(PACKET)
    for length in range(len(data)):
        with pytest.raises(PacketError):
            unpack(data[:length])
        with pytest.raises(PacketError) as caught:
            unpack(b"abc" + data[:length], 3)
        assert caught.value.offset == 3


def test_every_single_bit_flip_is_refused():
    data = pack(PACKET)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        for tail in (b"", bytes(70000)):  # with more behind it, a longer length field finds bytes to stand for
            with pytest.raises(PacketError):
                unpack(bytes(flipped) + tail)


@given(packets, st.integers(0, 2**20), st.integers(1, 255))
def test_a_changed_byte_is_refused(packet, at, change):
    data = bytearray(pack(packet))
    data[at % len(data)] ^= change
    with pytest.raises(PacketError):
        unpack(bytes(data))


@given(st.binary(max_size=100))
def test_bytes_that_are_no_packet_are_refused(data):
    with pytest.raises(PacketError):
        unpack(data)


@pytest.mark.parametrize("version", [0, 2, 15])
def test_a_whole_packet_of_another_version_is_refused_as_such(version):
    data = bytearray(pack(PACKET))
    data[1] = data[1] & 0xF0 | version
    with pytest.raises(PacketError) as caught:
        unpack(bytes(data))
    assert not isinstance(caught.value, VersionError)  # damaged first of all
    assert caught.value.end is None
    with pytest.raises(VersionError, match=str(version)) as caught:
        unpack(resealed(data))
    assert caught.value.end == len(data)


HOSTILE = {
    "reserved flag 1": (2, b"\x0d"),
    "reserved flag 2": (2, b"\x0e"),
    "width of 0": (9, b"\0\0"),
    "height of 0": (11, b"\0\0"),
    "interleave 3": (13, b"\xb9"),
    "colour 2": (13, b"\xb2"),
    "colour 7": (13, b"\xb7"),
    "index 201": (14, b"\xc9"),
    "window of 8 bits": (17, b"\x73"),
    "curve 2": (17, b"\xb5"),
    "window upside down": (18, b"\x03\x04\x01\x02"),
    "window past its depth": (20, b"\x10\x00"),
    "extension past the end": (23, b"\xff"),
    "extensions without an end": (27, b"\x09\xff"),
    "section past the end": (31, b"\x00\x06"),
    "section header cut short": (36, b"\x38"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_sealed_packet_is_refused_for(name):
    at, change = HOSTILE[name]
    data = bytearray(pack(PACKET))
    assert data[at : at + len(change)] != change
    data[at : at + len(change)] = change
    unknown, good = resealed(data), pack(PACKET)
    with pytest.raises(PacketError) as caught:
        unpack(b"abc" + unknown + good, 3)
    assert "CRC" not in caught.value.why and not isinstance(caught.value, VersionError)
    assert (caught.value.offset, caught.value.end) == (3, 3 + len(unknown))
    found, report = scan(good + unknown + good)
    assert found == [PACKET, PACKET]
    assert report == ScanReport(packets=2, skipped_bytes=len(unknown), unknown=1)


@pytest.mark.parametrize("at, change", [(1, 0xC2), (2, 0x0D), (13, 0xB9), (14, 201)])
def test_a_packet_inside_one_that_is_skipped_is_never_found(at, change):
    """Version, reserved flag, interleave, index: what is skipped is skipped with all its bytes."""
    good = pack(PACKET)
    outer = bytearray(pack(replace(PACKET, sections=(Section(0, 0, 0, 0, b"xy" + good + b"\x0b\xc1"),))))
    outer[at] = change
    found, report = scan(good + resealed(outer) + good)
    assert found == [PACKET, PACKET]
    assert (report.corrupt, report.skipped_bytes) == (0, len(outer))
    assert (report.other_versions, report.unknown) == ((1, 0) if at == 1 else (0, 1))
    outer[-1] ^= 1  # damaged, it is no packet, and the search goes on inside
    found, report = scan(good + bytes(outer) + good)
    assert found == [PACKET] * 3 and (report.other_versions, report.unknown) == (0, 0)


@given(st.binary(min_size=15, max_size=15), st.binary(max_size=60), st.booleans())
def test_a_sealed_packet_of_garbage_is_refused_or_read_but_never_crashes(head, body, plausible):
    data = bytearray(head + b"\0\0" + body + bytes(4))
    data[:2] = b"\x0b\xc1"
    if plausible:
        data[2], data[13], data[14] = data[2] & 0x0C, data[13] & 0xF1, data[14] % 201
    try:
        packet, end = unpack(resealed(data))
    except PacketError:
        return
    assert end == len(data)
    assert sum(len(s.payload) for s in packet.sections) <= len(body)
    assert packet.description.width > 0 and packet.index <= wire.MAX_INDEX


@pytest.mark.parametrize("kind", [Kind.PARITY, Kind.SUMMARY, 3, 15])
def test_a_packet_of_another_kind_is_kept_whole_and_has_no_sections(kind):
    packet = Packet(DESCRIPTION, 50, extensions=PACKET.extensions, kind=kind, body=b"\x11\x00\x22\x00\x00\x33")
    assert unpack(pack(packet)) == (packet, len(pack(packet)))


@given(st.lists(extensions, min_size=1, max_size=4).map(tuple), st.lists(sections, max_size=2).map(tuple))
def test_extensions_of_any_type_are_carried_and_do_not_hide_the_sections(listed, after):
    packet = replace(PACKET, extensions=listed, sections=after)
    assert unpack(pack(packet))[0] == packet


@given(st.lists(packets, max_size=6), st.integers(0, 2**32 - 1))
def test_scan_finds_every_packet_between_any_garbage(listed, seed):
    rng = random.Random(seed)
    data, garbage = b"", 0
    for packet in listed:
        between = rng.choice((b"", b"\x0b", b"\x0b\xc1", rng.randbytes(40), pack(packet)[:-1]))
        garbage += len(between)
        data += between + pack(packet)
    found, report = scan(data)
    assert found == listed
    assert (report.packets, report.skipped_bytes, report.other_versions, report.unknown) == (len(listed), garbage, 0, 0)


def test_scan_tells_damage_from_other_versions_and_from_noise():
    good, other = pack(PACKET), bytearray(pack(PACKET))
    other[1] = 0xC2
    damaged = bytearray(good)
    damaged[20] ^= 1
    found, report = scan(b"no" + good + bytes(damaged) + resealed(other) + good + good[:-3])
    assert found == [PACKET, PACKET]
    assert (report.packets, report.corrupt, report.other_versions, report.unknown) == (2, 2, 1, 0)
    assert report.skipped_bytes == 2 + 2 * len(good) + len(good) - 3
    assert scan(b"") == ([], ScanReport())


def test_steps_are_those_of_the_format_and_grow():
    assert tuple(reference.quantiser_step(i) for i in range(201)) == wire.STEPS
    assert all(a < b for a, b in zip(wire.STEPS, wire.STEPS[1:], strict=False))


def test_a_quality_has_an_index_and_half_a_quality_too():
    assert wire.MAX_INDEX == 200
    for index in range(201):
        assert wire.quality_of(index) == (200 - index) / 2
        assert wire.index_of((200 - index) / 2) == index
    assert (wire.index_of(100), wire.index_of(0)) == (0, 200)


def test_the_format_page_lists_the_same_steps():
    section = (files("onboard") / "FORMAT.md").read_text().split("### 6.1")[1].split("### 6.2")[0]
    rows = re.findall(r"^\| (\d+) ((?:\| *\d* *){16})\|$", section, re.MULTILINE)
    listed = {int(first) + i: int(step) for first, row in rows for i, step in enumerate(re.findall(r"\d+", row))}
    assert listed == dict(enumerate(wire.STEPS))


def test_the_checksum_is_crc_32_iso_hdlc():
    assert reference.crc32(b"123456789") == 0xCBF43926 == zlib.crc32(b"123456789")
    assert pack(PACKET)[-4:] == struct.pack(">I", reference.crc32(pack(PACKET)[:-4]))


def test_a_packet_that_gets_its_last_byte_from_the_next_does_not_hide_it():
    packets = (pack(replace(PACKET, description=replace(DESCRIPTION, tag=tag))) for tag in range(65536))
    first = next(p for p in packets if p[-1] == PACKET_BEGINS)
    found, report = scan(first[:-1] + pack(PACKET))
    assert [pack(p) for p in found] == [first, pack(PACKET)]
    assert report.skipped_bytes == 0


def test_a_corrupt_packet_that_holds_the_magic_counts_once():
    inside = replace(PACKET, sections=(Section(0, 0, 0, 0, b"\x0b\xc1" * 9),))
    bad = bytearray(pack(inside))
    bad[-1] ^= 1
    report = scan(bytes(bad) + pack(PACKET) + bytes(bad))[1]
    assert (report.packets, report.corrupt, report.skipped_bytes) == (1, 2, 2 * len(bad))
