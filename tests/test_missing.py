"""Missing maps and what is sent on their word: exactly the blocks that are missing, with the bits of the first time."""

from __future__ import annotations

import binascii
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onboard
from onboard.errors import InputError
from onboard.missing import MissingMap, lines, map_of, map_text, parse_map, read_map
from onboard.model import default_model
from onboard.resend import resend
from onboard.scan import scan
from onboard.wire import Colour, Description, pack
from tests.make_vectors import colour_scene, deep_scene, scene
from tests.test_erasure import split

CASES = {
    "grey": (lambda: scene(200, 317, 5), {"quality": 45}),
    "four phases": (lambda: scene(200, 317, 5), {"quality": 55, "interleave": 4}),
    "colour": (lambda: colour_scene(150, 210, 6), {"quality": 50, "interleave": 2}),
    "smaller": (lambda: colour_scene(150, 333, 6), {"quality": 70, "scale": 2}),
    "parity": (lambda: scene(200, 317, 8), {"quality": 45, "parity": (30, 10)}),
    "flat": (lambda: np.full((300, 400), 90, np.uint8), {"quality": 20}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [48, 90, 200])
def test_what_is_resent_makes_the_picture_whole_and_nothing_is_sent_twice(name: str, size: int) -> None:
    picture, options = CASES[name]
    data = onboard.compress(picture(), packet_size=max(size, 64), **options)
    packets = split(data)
    whole = onboard.decompress(data)
    rng = random.Random(name)
    for loss in (0.1, 0.5, 0.9):
        kept = packets[:1] + [p for p in packets[1:] if rng.random() >= loss]
        got = onboard.decompress(kept)
        wanted = parse_map(got.missing.pack())
        again = [pack(p) for p in resend(scan(data)[0], wanted, default_model(), 200 if size == 48 else size)]
        assert all(len(p) <= max(size, 200 if size == 48 else size) for p in again)
        healed = onboard.decompress(kept + again)
        assert healed.complete
        assert (healed.image == whole.image).all()
        assert healed.missing.spans == ()
        if again:  # the resent packets alone bring what was missing and not a block more
            total = sum(line.end - line.begin for line in lines(scan(data)[0][0].description))
            alone = onboard.decompress(again).missing
            missing = sum(b - a for a, b in wanted.spans)
            assert sum(b - a for a, b in alone.spans) == total - missing


LAYERED = {
    "layers in one go": (lambda: scene(200, 317, 5), {"bpp": 0.6}),
    "in colour, interleaved": (lambda: colour_scene(150, 210, 6), {"bpp": 0.9, "interleave": 4}),
    "lossless": (lambda: scene(90, 130, 5), {"lossless": True}),
    "deep": (lambda: deep_scene(120, 130, 5), {"quality": 150}),
}


@pytest.mark.parametrize("name", LAYERED)
def test_higher_layers_that_are_sent_whole_are_asked_for_and_sent_again(name: str) -> None:
    picture, options = LAYERED[name]
    packets = split(onboard.compress(picture(), packet_size=400, **options))
    whole = onboard.decompress(packets)
    assert whole.complete and whole.missing.spans == ()
    for kept in ([*packets[:-2], packets[-1]], packets[::3] + packets[-1:]):
        got = onboard.decompress(kept)
        assert not got.complete and got.report["received"] < 1
        wanted = parse_map(got.missing.pack())
        again = [pack(p) for p in resend(scan(b"".join(packets))[0], wanted, default_model(), 400)]
        assert all(len(p) <= 400 for p in again)
        assert sum(map(len, again)) <= 1.15 * sum(map(len, packets)) - sum(map(len, kept)) + 400
        healed = onboard.decompress(kept + again)
        assert healed.complete and (healed.image == whole.image).all()
    with pytest.raises(InputError, match="too small"):
        resend(scan(b"".join(packets))[0], wanted, default_model(), 64)


def test_a_region_that_was_refined_asks_for_nothing_elsewhere() -> None:
    picture = scene(200, 317, 5)
    preview = onboard.compress(picture, quality=30)
    more = onboard.refine(picture, preview, budget=2000, regions=[(64, 64, 80, 60)])
    got = onboard.decompress(preview + more)
    assert got.complete and got.missing.spans == ()


def test_packets_that_came_complete_leave_an_empty_map() -> None:
    got = onboard.decompress(onboard.compress(scene(90, 110, 2), quality=40))
    assert got.missing.spans == ()
    assert len(got.missing.pack()) == 7


def test_a_lost_packet_costs_the_map_a_few_bytes() -> None:
    packets = split(onboard.compress(scene(512, 768, 2), bpp=0.15, packet_size=200))
    del packets[20], packets[3]
    assert len(onboard.decompress(packets).missing.pack()) <= 7 + 2 * 4


@given(st.lists(st.integers(1, 5000), max_size=40), st.integers(0, 3), st.integers(0, 65535), st.integers(0, 65535))
def test_maps_survive_bytes_hex_and_base64(steps: list[int], begin: int, picture_id: int, tag: int) -> None:
    edges = np.cumsum([begin, *steps])[: len(steps) // 2 * 2]
    spans = tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
    made = MissingMap(picture_id, tag, spans)
    data = made.pack()
    assert parse_map(data) == made
    assert read_map(data) == made
    assert read_map(data.hex(" ").encode() + b"\n") == made
    assert read_map(map_text(data).encode()) == made


@given(st.lists(st.integers(1, 5000), min_size=8, max_size=80), st.integers(12, 60))
def test_a_limit_joins_spans_and_never_drops_a_missing_block(steps: list[int], limit: int) -> None:
    edges = np.cumsum(steps)[: len(steps) // 2 * 2].reshape(-1, 2)
    made = MissingMap(1, 2, tuple((int(a), int(b)) for a, b in edges))
    if len(made.pack()) <= limit:
        assert made.pack(limit) == made.pack()
        return
    data = made.pack(limit)
    assert len(data) <= limit
    wanted = parse_map(data).spans
    assert all(any(a <= begin and end <= b for a, b in wanted) for begin, end in made.spans)


def test_a_limit_below_one_span_or_none_is_refused() -> None:
    with pytest.raises(InputError, match="too small"):
        MissingMap(1, 2, ((5, 9), (400, 500))).pack(8)
    for spans in ((), ((5, 9),)):
        made = MissingMap(1, 2, spans)
        assert made.pack(len(made.pack())) == made.pack()
        with pytest.raises(InputError, match="too small"):
            made.pack(5)


@given(st.binary(max_size=40))
def test_garbage_is_no_map(data: bytes) -> None:
    for text in (data, b"\xb1" + data, data.hex().encode()):
        with pytest.raises(InputError):
            read_map(text)


@given(st.integers(0, 63), st.integers(0, 10**6))
def test_a_bit_error_in_a_map_is_noticed(bit: int, begin: int) -> None:
    data = bytearray(MissingMap(77, 88, ((begin, begin + 9),)).pack())
    bit %= 8 * len(data)
    data[bit // 8] ^= 128 >> bit % 8
    with pytest.raises(InputError):
        parse_map(bytes(data))


def test_layer_1_is_asked_for_in_whole_quads() -> None:
    description = Description(1, 2, 3, 72, 40)  # 9 x 5 blocks
    missing = np.zeros(45 + 12, bool)
    missing[[7, 45 + 0, 45 + 11]] = True
    runs = list(map_of(description, [(0, missing[:45]), (45, missing[45:])]).runs(description))
    assert [(r.layer, r.first, r.end) for r in runs] == [(0, 7, 8), (1, 0, 4), (1, 44, 45)]


def test_a_map_that_does_not_fit_the_stream_is_refused() -> None:
    data = onboard.compress(scene(90, 110, 2), quality=40)
    d = scan(data)[0][0].description
    with pytest.raises(InputError, match="the picture has"):
        resend(scan(data)[0], MissingMap(d.picture_id, d.tag, ((0, 9999),)), default_model(), 200)
    for p in split(onboard.compress(scene(200, 300, 2), quality=40, packet_size=100))[:1]:
        d = scan(p)[0][0].description
        with pytest.raises(InputError, match="not in the stream"):
            resend(scan(p)[0], MissingMap(d.picture_id, d.tag, ((0, 900),)), default_model(), 200)


def test_lines_cover_every_block_of_every_plane_once() -> None:
    for colour in Colour:
        for log2 in (0, 1, 2):
            d = Description(1, 2, 3, 333, 77, interleave_log2=log2, colour=colour)
            found = list(lines(d))
            assert sum(x.blocks for x in found if x.layer == 0 and x.plane == 0) == 42 * 10
            assert [x.begin for x in found[1:]] == [x.end for x in found[:-1]]


def test_a_map_is_spelled_as_the_format_page_says() -> None:
    body = bytes.fromhex("B1 1234 5678 07 03 C801 01")
    assert MissingMap(0x1234, 0x5678, ((7, 10), (210, 211))).pack() == body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2)
    assert binascii.crc_hqx(b"123456789", 0xFFFF) == 0x29B1
