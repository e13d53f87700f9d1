"""Encoder to decoder: every option, every loss, and the twin at the end of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard.decoder import Decoding
from onboard.encoder import Effort, Encoding, analyse_picture
from onboard.errors import InputError
from onboard.model import Model, default_model
from onboard.planes import assemble, choose_window
from onboard.wire import (
    LAYER_FIRST,
    LAYER_REST,
    MAX_INDEX,
    Colour,
    Curve,
    Description,
    Extension,
    Window,
    unpack,
)
from tests import pictures, reference

INDICES = st.integers(0, MAX_INDEX)
SIDES = st.integers(1, 40)
PICTURES = {
    "one sample": np.full((1, 1), 201, np.uint8),
    "flat": np.full((30, 45), 77, np.uint8),
    "black": np.zeros((17, 9), np.uint8),
    "white": np.full((9, 70), 255, np.uint8),
    "gradient": pictures.gradient(41, 83),
    "texture": pictures.texture(70, 51),
    "noise": pictures.noise(50, 43),
    "checkerboard of samples": pictures.checkerboard(33, 40),
    "checkerboard of blocks": pictures.checkerboard(61, 90, 8),
    "huge contrast": pictures.checkerboard(48, 60, 3) ^ pictures.checkerboard(48, 60, 13),
    "one row": pictures.texture(1, 300),
    "one column": pictures.texture(290, 1),
    "a stripe and a block": pictures.texture(60, 262),
}


def analysed(
    picture: np.ndarray,
    model: Model,
    *,
    scale_log2: int = 0,
    interleave_log2: int = 0,
    colour: Colour | None = None,
    window: Window | None = None,
    finest: int = 0,
) -> Encoding:
    if colour is None:
        colour = Colour.YCBCR420 if picture.ndim == 3 else Colour.GREY
    height, width = picture.shape[:2]
    d = Description(0xA1B2, 0, model.model_id, width, height, scale_log2, interleave_log2, colour, window)
    return analyse_picture(picture, d, model, finest, Effort(model.threshold, model.price))


def decoded(packets: list[bytes], model: Model) -> Decoding:
    read = [unpack(p)[0] for p in packets]
    decoding = Decoding(read[0].description, model)
    decoding.add(read)
    return decoding


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def whole(packets: list[bytes], model: Model) -> Decoding:
    """Decode all packets, which must make a complete picture without a complaint."""
    decoding = decoded(packets, model)
    assert (decoding.bad_sections, decoding.skipped_sections) == (0, 0)
    assert decoding.coverage() == 1 and (decoding.mask() == 2).all()
    return decoding


def error(picture: np.ndarray, plane: np.ndarray) -> float:
    return float(((picture.astype(float) - plane) ** 2).mean())


# --- whole pictures -------------------------------------------------------------------------------------------------


def test_the_encoder_knows_the_first_latents_that_arrive(model):
    for picture in (PICTURES["texture"], pictures.colourful(40, 50)):
        encoding = analysed(picture, model)
        states = whole(encoding.packets(70), model).planes
        assert same(encoding.first_latents(70), [s.first for s in states])


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("index", [0, 60, MAX_INDEX])
def test_a_picture_arrives_as_the_encoder_quantised_it(model, name, index):
    encoding = analysed(PICTURES[name], model)
    decoding = whole(encoding.packets(index), model)
    [symbols], [state] = encoding.symbols(index, encoding.default_effort()), decoding.planes
    steps = model.steps(index)
    assert np.array_equal(state.first, symbols.first * steps[0])
    assert np.array_equal(state.group, symbols.group)
    inside = symbols.group == 1
    assert np.array_equal(state.rest[inside], symbols.rest[inside] * steps[1:])
    assert (state.first_index == index).all() and (state.rest_index == index).all()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("index", [0, 88, 156, MAX_INDEX])
def test_the_twin_decodes_the_same_planes(model, name, index):
    packets = analysed(PICTURES[name], model).packets(index)
    assert same(whole(packets, model).plain(), reference.decode_plain(packets))


@pytest.mark.parametrize("interleave_log2", [0, 1, 2])
@pytest.mark.parametrize("scale_log2", [0, 1, 3, 7])
def test_the_twin_decodes_the_same_colour_picture_at_any_scale_and_interleave(model, interleave_log2, scale_log2):
    encoding = analysed(pictures.colourful(75, 58), model, scale_log2=scale_log2, interleave_log2=interleave_log2)
    packets = encoding.packets(104, packet_size=180)
    decoding = whole(packets, model)
    assert same(decoding.plain(), reference.decode_plain(packets))
    picture = assemble(decoding.plain_full(), decoding.description)
    assert picture.shape == (75, 58, 3)
    assert np.array_equal(picture, reference.decode_picture(packets))


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("no_data", [False, True])
def test_the_twin_decodes_the_same_deep_picture(model, curve, no_data):
    picture = pictures.deep(45, 37)
    window = choose_window(picture, curve, no_data)
    packets = analysed(picture, model, window=window, scale_log2=1).packets(40, packet_size=90)
    decoding = whole(packets, model)
    found = assemble(decoding.plain_full(), decoding.description)
    assert found.dtype == np.uint16 and np.array_equal(found, reference.decode_picture(packets))


@given(SIDES, SIDES, INDICES, st.integers(0, 2), st.integers(0, 7), st.integers(48, 260), st.booleans())
def test_any_small_picture_survives_any_options(height, width, index, interleave_log2, scale_log2, packet_size, colour):
    model = default_model()
    picture = pictures.colourful(height, width) if colour else pictures.texture(height, width)
    encoding = analysed(picture, model, scale_log2=scale_log2, interleave_log2=interleave_log2)
    packets = encoding.packets(index, packet_size=packet_size)
    assert max(map(len, packets)) <= packet_size
    assert same(whole(packets, model).plain(), reference.decode_plain(packets))


@pytest.mark.parametrize("fixture", ["photograph", "colour_photograph"])
def test_a_photograph_gets_better_with_every_byte(model, fixture, request):
    picture = request.getfixturevalue(fixture)
    encoding = analysed(picture, model)
    sizes, errors = [], []
    for index in (200, 152, 104, 56, 8):
        packets = encoding.packets(index)
        sizes.append(sum(map(len, packets)))
        decoding = whole(packets, model)
        errors.append(error(picture, assemble(decoding.plain_full(), decoding.description)))
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 3


def test_flat_pictures_take_a_few_bytes_and_come_back_flat(model):
    for value in (0, 1, 127, 128, 255):
        picture = np.full((512, 768), value, np.uint8)
        packets = analysed(picture, model).packets(60)
        assert sum(map(len, packets)) < 600
        plain = whole(packets, model).plain()[0]
        assert plain.min() >= value - 6 and plain.max() <= value + 6


def test_colour_comes_back(model):
    picture = np.empty((48, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = (200, 40, 60), (30, 90, 210)
    decoding = whole(analysed(picture, model).packets(20), model)
    back = assemble(decoding.plain_full(), decoding.description).astype(int)
    assert np.abs(back[:, 4:24].mean((0, 1)) - picture[0, 0]).max() < 6
    assert np.abs(back[:, 40:60].mean((0, 1)) - picture[0, 63]).max() < 6


# --- the encoder's promises -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interleave_log2", [0, 1, 2])
@pytest.mark.parametrize("packet_size", [48, 49, 64, 133, 1000])
@pytest.mark.parametrize("name", ["noise", "texture", "a stripe and a block", "one sample"])
def test_no_packet_is_larger_than_asked_for_and_every_one_parses_alone(model, name, packet_size, interleave_log2):
    packets = analysed(PICTURES[name], model, interleave_log2=interleave_log2).packets(80, packet_size=packet_size)
    together = whole(packets, model)
    for data in packets:
        assert len(data) <= packet_size
        alone = decoded([data], model)
        assert alone.bad_sections == 0 and alone.coverage() > 0
        for ours, full in zip(alone.planes, together.planes, strict=True):
            assert np.array_equal(ours.first[ours.has_first], full.first[ours.has_first])
            assert np.array_equal(ours.rest[ours.has_rest], full.rest[ours.has_rest])


def test_noise_at_the_finest_index_fits_packets_of_48_bytes(model):
    """A block of large latents nearly fills such a packet: what does not fit goes to group 1, and the rest stays."""
    for picture in (pictures.noise(64, 72), pictures.checkerboard(64, 72, 3) ^ pictures.noise(64, 72) // 9):
        encoding = analysed(picture, model)
        packets = encoding.packets(0, packet_size=48)
        assert max(map(len, packets)) <= 48
        decoding = whole(packets, model)
        assert same(decoding.plain(), reference.decode_plain(packets))
        [wanted], [state] = encoding.symbols(0, encoding.default_effort()), decoding.planes
        assert (state.group <= wanted.group).all()


def test_a_quad_that_does_not_fit_gives_up_no_block_of_the_next_quad(model):
    """Blocks are sent to group 1 only in the quad that is too large for a packet, from its end."""
    encoding = analysed(pictures.noise(64, 256), model)
    [wanted] = encoding.symbols(0, encoding.default_effort())
    [state] = whole(encoding.packets(0, packet_size=48), model).planes
    order = reference.phase_order(state.rows, state.columns, 0, 0)
    assert wanted.group.all()  # every quad is too large, so each must keep as many blocks as the others, about
    kept = state.group[order].reshape(-1, 4).sum(1)
    assert kept.min() >= 1


@pytest.mark.parametrize("extensions", [(), (Extension(4, bytes(40)),), (Extension(2, b"X1"), Extension(3, bytes(8)))])
@pytest.mark.parametrize("window", [None, Window(12, Curve.LINEAR, False, 300, 3900)])
@pytest.mark.parametrize("tag", [None, 7])
def test_packet_sizes_that_hold_no_block_are_refused(model, extensions, window, tag):
    encoding = analysed(pictures.deep(70, 51) if window else PICTURES["texture"], model, window=window)
    listed = sum(2 + len(e.data) for e in extensions) + 1 if extensions else 0
    least = max(48, 17 + (5 if window else 0) + listed + 22 + 4)
    assert extensions or least == 48
    for size in (least - 1, 0, -5, 65536, 2**40):
        with pytest.raises(InputError, match=f"packet size {size}: must be {least} to 65535"):
            encoding.packets(100, packet_size=size, extensions=extensions, tag=tag)
    packets = encoding.packets(100, packet_size=least, extensions=extensions, tag=tag)
    assert max(map(len, packets)) <= least
    assert all(unpack(p)[0].extensions == extensions for p in packets)
    whole(packets, model)


@pytest.mark.parametrize("index", [0, 34, 120, MAX_INDEX])
def test_latents_kept_for_a_finer_index_give_the_same_packets(model, index):
    picture = pictures.colourful(60, 70)
    exact = analysed(picture, model, finest=index).packets(index, packet_size=200)
    assert analysed(picture, model, finest=0).packets(index, packet_size=200) == exact
    assert analysed(picture, model, finest=max(index - 18, 0)).packets(index, packet_size=200) == exact


def test_an_index_finer_than_the_latents_kept_is_refused(model):
    with pytest.raises(InputError, match="finer"):
        analysed(PICTURES["texture"], model, finest=80).packets(79)


@pytest.mark.parametrize("scale_log2", [0, 1])
def test_a_view_a_memory_map_and_a_copy_make_the_same_packets(model, scale_log2, tmp_path):
    view = pictures.texture(150, 90)[::-1, 7:60:2]
    copy = np.ascontiguousarray(view)
    (tmp_path / "raw").write_bytes(copy.tobytes())
    mapped = np.memmap(tmp_path / "raw", np.uint8, "r", shape=copy.shape)
    expected = analysed(copy, model, scale_log2=scale_log2).packets(80)
    for other in (view, mapped, np.asfortranarray(copy)):
        assert analysed(other, model, scale_log2=scale_log2).packets(80) == expected


def test_a_grey_description_of_a_colour_picture_codes_its_luma(model):
    picture = pictures.colourful(40, 50)
    luma = np.array([[reference.rgb_to_ycc(*s)[0] for s in line] for line in picture.tolist()], np.uint8)
    assert analysed(picture, model, colour=Colour.GREY).packets(80) == analysed(luma, model).packets(80)


def test_a_dearer_bit_makes_a_smaller_stream(model):
    encoding = analysed(PICTURES["texture"], model)
    sizes = [sum(map(len, encoding.packets(80, effort=Effort(model.threshold, p)))) for p in (0, 20, 60, 255)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_the_tag_tells_encodings_apart_and_may_be_given(model):
    encoding = analysed(PICTURES["texture"], model)

    def tag(packets: list[bytes]) -> int:
        tags = {unpack(p)[0].description.tag for p in packets}
        assert len(tags) == 1
        return tags.pop()

    touched = PICTURES["texture"].copy()
    touched[-2, -3] ^= 0x40  # one sample of one block
    tags = [
        tag(encoding.packets(80)),
        tag(encoding.packets(80, packet_size=100)),  # small packets may send blocks to group 1
        tag(encoding.packets(81)),
        tag(encoding.packets(80, effort=Effort(model.threshold, model.price + 1))),
        tag(encoding.packets(80, effort=Effort(model.threshold + 1, model.price))),
        tag(analysed(PICTURES["texture"], model, interleave_log2=1).packets(80)),
        tag(analysed(PICTURES["texture"], model, scale_log2=1).packets(80)),
        tag(analysed(touched, model).packets(80)),
        tag(analysed(PICTURES["texture"], replace(model, dead_zone=model.dead_zone + 1)).packets(80)),
    ]
    assert len(set(tags)) == len(tags)
    assert tag(encoding.packets(80, extensions=(Extension(2, b"X1"),))) == tags[0]  # extensions change nothing coded
    assert tag(analysed(PICTURES["texture"], model, finest=80).packets(80)) == tags[0]
    assert tag(encoding.packets(80, tag=0x0102)) == 0x0102


def test_a_window_takes_another_tag(model):
    picture = pictures.deep(45, 37)
    windows = [Window(12, c, n, *ends) for c in Curve for n in (False, True) for ends in ((300, 3900), (301, 3901))]
    windows.append(Window(13, Curve.LINEAR, False, 300, 3900))
    packets = [analysed(picture, model, window=w).packets(80)[0] for w in windows]
    assert len({unpack(p)[0].description.tag for p in packets}) == len(windows)


def test_first_latents_of_the_whole_picture_are_sent_before_anything_else(model):
    packets = analysed(pictures.colourful(70, 90), model, interleave_log2=2).packets(60, packet_size=100)
    sections = [s for p in packets for s in unpack(p)[0].sections]
    keys = [(s.layer, s.phase, s.plane, s.first) for s in sections]
    assert keys == sorted(keys)
    assert {s.layer for s in sections} == {LAYER_FIRST, LAYER_REST}
