"""Erasure packets: any k of a group restore it, byte for byte, and nothing that contradicts itself gets in."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onboard
from onboard.encoder import seal
from onboard.erasure import MAX_GROUP, Protection, parity_packets, parity_rows, protect, spread
from onboard.errors import InputError, NothingDecodableError
from onboard.ground.recover import recover
from onboard.scan import scan
from onboard.wire import (
    ERASURE,
    PARITY,
    Curve,
    Description,
    Extension,
    ExtensionType,
    Kind,
    Packet,
    Section,
    Window,
    pack,
    unpack,
)
from tests.make_vectors import deep_scene, scene

DESCRIPTION = Description(0x1234, 0x5678, 0x9ABC, 321, 123, window=Window(12, Curve.SQRT, True, 7, 3000))


def sources(sizes: list[int], extensions: tuple[Extension, ...] = (), seed: int = 1) -> list[Packet]:
    """Source packets of the given payload sizes, with first blocks that tell them apart."""
    rng = random.Random(seed)
    return [
        Packet(DESCRIPTION, 77, (Section(0, 0, 0, i, rng.randbytes(size)),), extensions) for i, size in enumerate(sizes)
    ]


def split(stream: bytes) -> list[bytes]:
    out, at = [], 0
    while at < len(stream):
        end = unpack(stream, at)[1]
        out.append(stream[at:end])
        at = end
    return out


def parse(packets: list[bytes]) -> tuple[list[Packet], list[Packet]]:
    parsed = [unpack(p)[0] for p in packets]
    return [p for p in parsed if p.kind == Kind.SOURCE], [p for p in parsed if p.kind == Kind.PARITY]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**32))
def test_parity_is_that_of_an_independent_reed_solomon_library(k: int, m: int, seed: int) -> None:
    reedsolo = pytest.importorskip("reedsolo")
    rows = np.random.default_rng(seed).integers(0, 256, (k, 3), np.uint8)
    coder = reedsolo.RSCodec(m, fcr=0, prim=0x11D, generator=2)
    expected = [coder.encode(bytes(column))[k:] for column in rows.T]
    assert parity_rows(rows, m).T.tolist() == [list(e) for e in expected]


def test_the_format_page_has_the_right_check_values() -> None:
    rows = parity_rows(np.array([[1, 2, 3], [0x44, 0x55, 0x66], [7, 0, 0xFF]], np.uint8), 2)
    text = (Path(onboard.__file__).parent / "FORMAT.md").read_text()
    assert "parity rows `" + "`, `".join(r.tobytes().hex(" ").upper() for r in rows) + "`" in text


def test_the_largest_group_agrees_with_the_library_and_heals() -> None:
    reedsolo = pytest.importorskip("reedsolo")
    rows = np.random.default_rng(3).integers(0, 256, (155, 1), np.uint8)
    coder = reedsolo.RSCodec(100, fcr=0, prim=0x11D, generator=2)
    assert parity_rows(rows, 100)[:, 0].tobytes() == bytes(coder.encode(rows[:, 0].tobytes())[155:])
    packed = protect(sources([5] * 155), Protection.percent(64, 0))
    assert len(packed) == MAX_GROUP
    kept = random.Random(5).sample(packed, 155)
    assert {pack(p) for p in recover(*parse(kept))} == {p for p in packed[:155] if p not in kept}


def test_every_subset_of_k_packets_restores_the_group() -> None:
    packed = protect(sources([30, 4, 0, 17], (Extension(2, b"OB1TST"),)), Protection((0.75, 0)))
    assert len(packed) == 7
    for kept in combinations(packed, 4):
        restored = {pack(p) for p in recover(*parse(list(kept)))}
        assert restored == set(packed[:4]) - set(kept)


def test_fewer_than_k_packets_restore_nothing_and_harm_nothing() -> None:
    packed = protect(sources([30, 4, 0, 17]), Protection((0.75, 0)))
    for kept in combinations(packed, 3):
        assert recover(*parse(list(kept))) == []


@given(st.lists(st.integers(0, 60), min_size=1, max_size=30), st.integers(1, 200), st.integers(0, 2**32))
def test_any_loss_within_the_parity_heals(sizes: list[int], percent: int, seed: int) -> None:
    packed = protect(sources(sizes), Protection.percent(percent, 0))
    rng = random.Random(seed)
    lost = rng.sample(packed, rng.randint(0, len(packed) - len(sizes)))
    kept = [p for p in packed if p not in lost]
    rng.shuffle(kept)
    assert {pack(p) for p in recover(*parse(kept + kept[:3]))} == set(packed[: len(sizes)]) - set(kept)


def test_groups_are_dealt_over_the_whole_picture_and_stay_within_255_packets() -> None:
    packed = protect(sources([3] * 600), Protection.percent(50, 0))
    found, parity = parse(packed)
    groups: dict[int, list[int]] = {}
    for p in found:
        assert p.erasure is not None
        groups.setdefault(p.erasure[0], []).append(p.sections[0].first)
    assert len(groups) == 4
    for first_blocks in groups.values():
        assert max(np.diff(first_blocks)) == 4
        assert len(first_blocks) == 150
    assert len(parity) == 300


def test_more_packets_than_groups_can_number_are_refused() -> None:
    packets = [Packet(DESCRIPTION, 1)] * (256 * 127 + 2)
    with pytest.raises(InputError, match="larger packets"):
        protect(packets, Protection.percent(100, 100))


def test_groups_of_several_indices_do_not_mix() -> None:
    one = protect(sources([9, 8, 7]), Protection.percent(40, 0))
    two = protect([replace(p, index=78) for p in sources([9, 8, 7], seed=2)], Protection.percent(40, 0))
    kept = one[1:] + two[:2] + two[3:]
    assert {pack(p) for p in recover(*parse(kept))} == {one[0], two[2]}


def test_a_packet_that_contradicts_its_group_keeps_the_group_from_restoring() -> None:
    packed = protect(sources([20, 20, 20, 20]), Protection((0.75, 0)))
    liar = replace(sources([20], seed=9)[0], extensions=(Extension(ExtensionType.ERASURE, ERASURE.pack(0, 1)),))
    assert recover(*parse([packed[0], pack(liar), *packed[3:]])) == []


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 255), st.integers(0, 255))
def test_hostile_parity_packets_never_crash(body: bytes, row: bytes, k: int, m: int) -> None:
    packed = protect(sources([20, 20, 20, 20]), Protection((0.5, 0)))
    found, parity = parse(packed)
    for made in (body, PARITY.pack(0, k, k, m) + row):
        hostile = Packet(DESCRIPTION, 77, kind=Kind.PARITY, body=made)
        for p in recover(found[:3], [hostile, *parity]):
            assert p.description == DESCRIPTION


def test_an_entry_that_is_not_the_first_or_not_two_bytes_long_counts_for_nothing() -> None:
    for extensions in (
        (Extension(2, b"X"), Extension(ExtensionType.ERASURE, b"\0\0")),
        (Extension(ExtensionType.ERASURE, b"\0\0\0"),),
    ):
        packet = unpack(pack(replace(sources([4])[0], extensions=extensions)))[0]
        assert packet.erasure is None
        assert packet.protected == b""


@pytest.mark.parametrize("extras", [{}, {"source_id": "OB1TST"}])
@pytest.mark.parametrize("parity", [(50, 20), (100, 0), (0, 30)])
def test_no_packet_is_larger_than_asked_for_and_the_budget_counts_parity(parity: tuple, extras: dict) -> None:
    for size in (60, 200):
        data = onboard.compress(scene(200, 300, 3), budget=3000, packet_size=size, parity=parity, **extras)
        packets = split(data)
        assert max(map(len, packets)) <= size
        assert 2700 < len(data) <= 3000
        assert scan(data)[1].packets == len(packets)


def test_lost_packets_within_the_parity_cost_no_pixel() -> None:
    for picture in (scene(200, 300, 4), deep_scene(200, 300, 4)):
        data = onboard.compress(picture, quality=40, packet_size=120, parity=(50, 30))
        packets = split(data)
        found, parity = parse(packets)
        k = sum(p.sections[0].layer == 0 for p in found)
        kept = packets[k // 2 :]  # a burst over the first packets of layer 0
        whole, healed = onboard.decompress(data), onboard.decompress(kept)
        assert healed.complete
        assert (healed.image == whole.image).all()
        assert (healed.mask == whole.mask).all()
        assert healed.report["packets"]["recovered"] == k // 2
        assert len(parity) == healed.report["packets"]["parity"]


def test_unequal_parity_protects_layer_0_alone() -> None:
    packets = [
        unpack(p)[0] for p in split(onboard.compress(scene(200, 300, 4), quality=40, packet_size=120, parity=(50, 0)))
    ]
    for p in packets:
        if p.kind == Kind.SOURCE:
            assert (p.erasure is not None) == (p.sections[0].layer == 0)


def test_parity_packets_alone_are_a_picture_when_there_are_k_of_them() -> None:
    packets = split(onboard.compress(scene(200, 300, 4), quality=30, packet_size=200, parity=(100, 100)))
    parity = [p for p in packets if unpack(p)[0].kind == Kind.PARITY]
    assert onboard.decompress(parity).complete
    with pytest.raises(NothingDecodableError):
        onboard.decompress(parity[:1])


def test_another_parity_is_another_encoding() -> None:
    tags = {
        onboard.describe(onboard.compress(scene(90, 90, 4), quality=30, parity=parity))["tag"]
        for parity in (None, (50, 10), (10, 50), (50, 50), Protection((0.5, 0)), Protection((0.5, 0), together=True))
    }
    assert len(tags) == 6


@pytest.mark.parametrize("parity", [(-1, 0), (0, 1001)])
def test_a_parity_that_makes_no_sense_is_refused(parity: tuple) -> None:
    with pytest.raises(InputError, match="percent"):
        onboard.compress(scene(30, 30, 1), quality=30, parity=parity)


def test_parity_packets_of_a_group_carry_k_and_m() -> None:
    entries = [
        replace(p, extensions=(Extension(ExtensionType.ERASURE, ERASURE.pack(9, i)),))
        for i, p in enumerate(sources([3, 5]))
    ]
    bodies = [unpack(p)[0].body for p in parity_packets(entries, 9, 3)]
    assert [PARITY.unpack_from(b) for b in bodies] == [(9, 2, 2, 3), (9, 3, 2, 3), (9, 4, 2, 3)]


def test_a_group_too_small_to_be_worth_parity_pays_nothing_for_it() -> None:
    packets = sources([20, 20])
    assert protect(packets, Protection((0.2, 0), (-0.5, 0))) == [pack(p) for p in packets]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 60])
@pytest.mark.parametrize(
    "parity", [None, Protection.percent(30, 0), Protection.percent(30, 10), Protection((0.3, 0), together=True)]
)
def test_spreading_keeps_every_packet_and_parts_those_of_layer_0(n: int, parity: Protection | None) -> None:
    above = [replace(p, sections=(replace(p.sections[0], layer=1),)) for p in sources([20] * 2 * n, seed=2)]
    packets = seal([*sources([20] * n), *above], parity)
    order = spread(packets)
    assert sorted(order) == sorted(packets)
    where = [i for i, p in enumerate(order) if (s := unpack(p)[0].sections) and s[0].layer == 0]
    if n >= 7 and (parity is None or not parity.together):
        assert min(np.diff(where)) >= 2  # a burst of four takes two of them at most
        names = [packets.index(order[i]) for i in where]
        assert min(abs(a - b) for a, b in pairwise(names)) >= n // 4


def test_groups_that_layers_share_restore_packets_of_any_layer() -> None:
    data = onboard.compress(scene(200, 300, 4), quality=40, packet_size=120, parity=Protection((0.3, 0), together=True))
    packets = split(data)
    found, parity = parse(packets)
    assert {p.sections[0].layer for p in found} == {0, 1}
    assert len({p.erasure[0] for p in found if p.erasure}) == 1 and all(p.erasure for p in found)
    assert packets[len(found) :] == [pack(p) for p in parity]
    whole = onboard.decompress(data)
    for begin in range(0, len(packets) - len(parity), 3):
        healed = onboard.decompress(packets[:begin] + packets[begin + len(parity) :])
        assert healed.complete and (healed.image == whole.image).all()


def test_a_spread_stream_is_the_same_picture_in_another_order() -> None:
    options = {"quality": 50, "packet_size": 100, "parity": (30, 10)}
    layers = split(onboard.compress(scene(200, 300, 4), **options))
    mixed = split(onboard.compress(scene(200, 300, 4), order="spread", **options))
    assert mixed != layers
    assert sorted(mixed) == sorted(layers)
    with pytest.raises(InputError, match="order"):
        onboard.compress(scene(20, 30, 4), quality=50, order="random")


def test_a_section_of_no_blocks_changes_nothing_and_harms_nothing() -> None:
    data = onboard.compress(scene(90, 120, 4), quality=50)
    packet = unpack(data)[0]
    empty = tuple(Section(0, layer, 0, 4, payload) for layer in (0, 1) for payload in (b"", b"\xff"))[:3]
    decoded = onboard.decompress(data + pack(replace(packet, sections=empty)))
    assert (decoded.image == onboard.decompress(data).image).all()
