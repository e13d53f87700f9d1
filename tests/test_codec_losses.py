"""Base layers that arrive in part, in any order, mixed or damaged: what is shown, and what the mask says."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onboard.decoder import Decoding, PlaneState
from onboard.model import default_model
from onboard.wire import (
    LAYER_FIRST,
    LAYER_REST,
    Colour,
    Description,
    Packet,
    Section,
    pack,
    unpack,
)
from tests import pictures, reference
from tests.test_codec import INDICES, PICTURES, analysed, decoded, error, same, whole


@settings(max_examples=60)
@given(
    st.sampled_from(("texture", "noise", "a stripe and a block", "colour")),
    st.integers(0, 2),
    st.sampled_from((0, 0, 1, 3)),
    st.sampled_from((48, 60, 200)),
    st.floats(0.02, 1),
    st.integers(0, 2**32 - 1),
)
def test_any_packets_in_any_order_show_what_they_carry(name, interleave_log2, scale_log2, packet_size, share, seed):
    model, rng = default_model(), random.Random(seed)
    picture = pictures.colourful(50, 66) if name == "colour" else PICTURES[name]
    packets = analysed(picture, model, scale_log2=scale_log2, interleave_log2=interleave_log2).packets(
        90, packet_size=packet_size
    )
    arrived = rng.choices(packets, k=max(1, round(share * len(packets))))  # some lost, some twice, none in order
    full, part = whole(packets, model), decoded(arrived, model)
    assert (part.bad_sections, part.skipped_sections) == (0, 0)
    assert 0 < part.coverage() <= 1
    assert same(part.plain(), reference.decode_plain(arrived))
    for i, (ours, theirs) in enumerate(zip(part.planes, full.planes, strict=True)):
        has_first, has_rest = ours.has_first, ours.has_rest
        assert np.array_equal(ours.first[has_first], theirs.first[has_first])
        assert np.array_equal(ours.group[has_rest], theirs.group[has_rest])
        assert np.array_equal(ours.rest[has_rest], theirs.rest[has_rest])
        assert not ours.group[~has_rest].any()
        padded = np.pad(has_first.reshape(ours.rows, ours.columns), 1, constant_values=True)
        around = np.logical_and.reduce(
            [padded[y : y + ours.rows, x : x + ours.columns] for y in range(3) for x in range(3)]
        ).ravel()
        certain = has_first & has_rest & (around | (theirs.group == 0))
        if i == 0:
            assert np.array_equal(part.mask(), at_full_size(has_first.astype(int) + certain, part))
        ours_plain, full_plain = part.plain()[i], full.plain()[i]
        for n in np.flatnonzero(certain):
            block = np.s_[8 * (n // ours.columns) :, 8 * (n % ours.columns) :]
            assert np.array_equal(ours_plain[block][:8, :8], full_plain[block][:8, :8])


def at_full_size(values: np.ndarray, decoding: Decoding) -> np.ndarray:
    """Values of the luma blocks as coded, spread over the 8x8 blocks of the full size."""
    d, luma = decoding.description, decoding.planes[0]
    rows, columns = reference.ceil_div(d.height, 8), reference.ceil_div(d.width, 8)
    grid = values.reshape(luma.rows, luma.columns).tolist()
    return np.array([[grid[y >> d.scale_log2][x >> d.scale_log2] for x in range(columns)] for y in range(rows)])


def only_layer(packets: list[bytes], layer: int) -> list[bytes]:
    """The same packets with nothing but one layer in them."""
    read = [unpack(p)[0] for p in packets]
    return [pack(replace(p, sections=tuple(s for s in p.sections if s.layer == layer))) for p in read]


def test_the_mask_says_what_arrived_of_every_block(model):
    packets = analysed(PICTURES["texture"], model, scale_log2=1).packets(90, packet_size=60)
    base, rest = (decoded(only_layer(packets, layer), model) for layer in (LAYER_FIRST, LAYER_REST))
    assert (base.mask() == 1).all() and base.coverage() == 0.5
    assert (rest.mask() == 0).all() and rest.coverage() == 0.5
    some = decoded([packets[0], packets[-1]], model)
    state, mask = some.planes[0], some.mask()
    assert 0 < state.has_rest.mean() < 1
    assert mask.shape == (9, 7) and mask.dtype == np.uint8
    for y in range(9):
        for x in range(7):
            n = y // 2 * state.columns + x // 2
            exact = state.has_rest[n] and refers_to_what_arrived(state, n)
            assert mask[y, x] == (1 + exact if state.has_first[n] else 0)


def refers_to_what_arrived(state: PlaneState, n: int) -> bool:
    """Whether a block is of group 1, or all the neighbours that it has in the plane have their first latents."""
    row, column = divmod(n, state.columns)
    around = [
        state.has_first[r * state.columns + c]
        for r in range(max(row - 1, 0), min(row + 2, state.rows))
        for c in range(max(column - 1, 0), min(column + 2, state.columns))
    ]
    return not state.group[n] or all(around)


@pytest.mark.parametrize("interleave_log2", [0, 1, 2])
def test_a_block_of_group_2_is_exact_only_with_the_first_latents_around_it(model, interleave_log2):
    encoding = analysed(PICTURES["a stripe and a block"], model, interleave_log2=interleave_log2)
    packets = encoding.packets(90, packet_size=48)
    base, rest = (only_layer(packets, layer) for layer in (LAYER_FIRST, LAYER_REST))
    some = decoded(base[:1] + base[2:] + rest, model)
    [state], found = some.planes, some.mask().ravel()
    assert state.has_rest.all() and 0 < state.has_first.mean() < 1
    exact = np.array([refers_to_what_arrived(state, n) for n in range(len(found))])
    assert np.array_equal(found, np.where(state.has_first, 1 + exact, 0))
    for group in (0, 1):  # both kinds are there with and without a missing neighbour, or the test says nothing
        assert (found[state.group == group] == 2).any()
    assert (found[state.group == 1] == 1).any() and not (found[state.group == 0] == 1).any()


def test_nothing_received_is_grey(model):
    decoding = Decoding(Description(1, 2, model.model_id, 40, 30, colour=Colour.YCBCR420), model)
    assert decoding.coverage() == 0 and not decoding.mask().any()
    assert all((plane == 128).all() for plane in decoding.plain())


def test_a_lost_packet_of_a_lattice_hardly_shows(model):
    """With interleave 4 a lost packet leaves neighbours all around, which concealment uses."""
    picture = pictures.gradient(128, 160)
    packets = analysed(picture, model, interleave_log2=2).packets(80, packet_size=100)
    full = whole(packets, model)
    lost = [p for p in packets if not any(s.layer == 0 and s.phase == 3 for s in unpack(p)[0].sections)]
    part = decoded(lost, model)
    assert len(lost) < len(packets)
    assert (~part.planes[0].has_first).sum() >= 60
    assert error(picture, part.plain()[0]) < error(picture, full.plain()[0]) + 12


def test_packets_of_different_indices_may_be_mixed(model):
    encoding = analysed(PICTURES["texture"], model)
    coarse, fine = (encoding.packets(i, packet_size=80, tag=7) for i in (140, 40))
    [of_coarse], [of_fine] = whole(coarse, model).planes, whole(fine, model).planes
    layers = [unpack(p)[0].sections[0].layer for p in fine]
    some = [fine[1], fine[layers.index(LAYER_REST)], fine[-1]]
    [got] = decoded(some, model).planes
    assert 0 < got.has_first.mean() < 1 and 0 < got.has_rest.mean() < 1
    expected = reference.decode_plain(coarse + some)
    for mixed in (coarse + some, some + coarse, some[::-1] + coarse[::-1] + some, coarse[:2] + some + coarse):
        decoding = decoded(mixed, model)
        [state] = decoding.planes
        assert decoding.bad_sections == 0 and state.usual_index() == 140
        assert np.array_equal(state.first_index, np.where(got.has_first, 40, 140))
        assert np.array_equal(state.rest_index, np.where(got.has_rest, 40, 140))
        assert np.array_equal(state.first, np.where(got.has_first, of_fine.first, of_coarse.first))
        assert np.array_equal(state.group, np.where(got.has_rest, of_fine.group, of_coarse.group))
        rest = np.where(got.has_rest[:, None], of_fine.rest, of_coarse.rest)
        assert np.array_equal(state.rest, rest)
        assert same(decoding.plain(), expected)
        assert same(reference.decode_plain(mixed), expected)


@given(st.integers(0, 2), st.integers(0, 2**32 - 1), INDICES)
def test_sections_of_garbage_are_counted_and_change_nothing_else(interleave_log2, seed, index):
    model, rng = default_model(), random.Random(seed)
    packets = analysed(PICTURES["a stripe and a block"], model, interleave_log2=interleave_log2).packets(90)
    description = unpack(packets[0])[0].description
    garbage = [
        Section(
            rng.choice((0, 0, 0, 1, 15)),
            rng.choice((0, 0, 1, 1)),
            rng.randrange(4),
            rng.choice((0, 4, 8, 3, rng.randrange(300), 2**27 - 1)),
            rng.randbytes(rng.randrange(60)),
        )
        for _ in range(6)
    ]
    hostile = Packet(description, index, tuple(garbage))
    decoding = Decoding(description, model)
    decoding.add([hostile, *(unpack(p)[0] for p in packets)])
    unknown = sum(s.plane > 0 for s in garbage)
    assert decoding.skipped_sections == unknown
    assert decoding.bad_sections <= len(garbage) - unknown
    true, forwards, backwards = whole(packets, model), [pack(hostile), *packets], [*packets, pack(hostile)]
    late = decoded(backwards, model)
    for found, order in ((decoding, forwards), (late, backwards)):
        [ours], [theirs] = found.planes, true.planes
        own_first, own_rest = ours.first_index == 90, ours.rest_index == 90
        if index > 90:  # coarser than the true packets, which put all right, whenever they come
            assert own_first.all() and own_rest.all()
        if index != 90:
            assert np.array_equal(ours.first[own_first], theirs.first[own_first])
            assert np.array_equal(ours.rest[own_rest], theirs.rest[own_rest])
            assert np.array_equal(ours.group[own_rest], theirs.group[own_rest])
        assert same(found.plain(), reference.decode_plain(order))
    if index > 90:
        assert same(decoding.plain(), true.plain())
    if index != 90:
        assert same(decoding.plain(), late.plain())
    else:
        assert same(late.plain(), true.plain())  # of equal copies, the first stays


@pytest.mark.parametrize("layer", [LAYER_FIRST, LAYER_REST])
def test_a_section_of_no_bytes_has_no_blocks(model, layer):
    decoding = whole(analysed(PICTURES["texture"], model).packets(90), model)
    expected = decoding.plain()
    decoding.add([Packet(decoding.description, 60, (Section(0, layer, 0, 4, b""),))])
    assert (decoding.bad_sections, decoding.skipped_sections) == (0, 0)
    assert (decoding.planes[0].first_index == 90).all() and (decoding.planes[0].rest_index == 90).all()
    assert same(decoding.plain(), expected)


@pytest.mark.parametrize(
    "section",
    [
        Section(0, 0, 0, 63, b"\x00"),  # behind the last block
        Section(0, 1, 0, 2**27 - 4, b"\x00"),
        Section(0, 0, 1, 0, b"\x00"),  # no such phase
        Section(0, 1, 0, 2, b"\x00"),  # not the start of a quad
        Section(0, 0, 0, 0, b"\xff\xff\xff"),
        Section(0, 1, 0, 0, b"\xff\xff\xff"),
    ],
)
def test_a_malformed_section_is_counted_and_left_out(model, section):
    packets = analysed(PICTURES["texture"], model).packets(90)
    before = whole(packets, model)
    expected = before.plain()
    before.add([Packet(before.description, 60, (section,))])  # finer, so it would stay if it were used
    assert (before.bad_sections, before.skipped_sections, before.planes[0].usual_index()) == (1, 0, 90)
    assert same(before.plain(), expected)


def test_unknown_planes_and_layers_are_skipped(model):
    decoding = whole(analysed(PICTURES["texture"], model).packets(90), model)
    expected = decoding.plain()
    unknown = (
        Section(1, 0, 0, 0, b"\x00"),
        Section(15, 1, 3, 9, b""),
        Section(3, 15, 0, 0, b""),
    )
    decoding.add([Packet(decoding.description, 60, unknown)])
    assert (decoding.bad_sections, decoding.skipped_sections) == (0, 3)
    assert same(decoding.plain(), expected)


def test_a_model_of_other_tables_decodes_its_own_streams(model):
    """Nothing in the code depends on the shipped tables: two sets swapped make another model that works as well."""
    other = replace(model, lengths=model.lengths[::-1].copy(), set_limits=(20, 180), chroma_offset=-14)
    packets = analysed(pictures.colourful(40, 52), other).packets(100, packet_size=120)
    decoding = whole(packets, other)
    assert decoding.description.model_id == other.model_id != model.model_id
    assert same(decoding.plain(), reference.decode_plain(packets, reference.read_model(other.data)))
