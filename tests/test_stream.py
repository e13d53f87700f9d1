"""The single-pass mode: any decoder reads it, quotas hold, nothing is coded before it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard import compress_stream, decompress
from onboard.decoder import MISSING, Decoding
from onboard.detail import coarse_detail
from onboard.errors import InputError, ModelError
from onboard.model import default_model
from onboard.scan import scan
from onboard.stream import KEEP_INDEX
from onboard.stream_parity import Group
from onboard.wire import Colour, Description, Kind, unpack
from tests import pictures, reference
from training.export_c import header


def joined(picture: np.ndarray, **options: object) -> bytes:
    return b"".join(compress_stream(picture, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("interleave", [1, 2, 4])
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("colour", [False, True])
def test_a_stream_covers_the_picture(colour, scale, interleave):
    picture = pictures.colourful(150, 330) if colour else pictures.texture(150, 330)
    data = joined(picture, quality=40, scale=scale, interleave=interleave, packet_size=200)
    found = decompress(data, enhance="plain")
    assert found.mask.min() == 2
    assert found.report["received"] == 1


def test_the_twin_decodes_the_same_picture():
    data = list(compress_stream(pictures.texture(64, 300), quality=35, packet_size=150))
    assert np.array_equal(decompress(b"".join(data), enhance="plain").image, reference.decode_picture(data))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(48, 400), st.integers(48, 260), st.sampled_from([1, 2, 4]))
def test_no_stream_is_larger_than_its_quota(height, width, budget, packet_size, interleave):
    packets = list(
        compress_stream(pictures.noise(height, width), budget=budget, packet_size=packet_size, interleave=interleave)
    )
    assert sum(map(len, packets)) <= budget
    assert all(len(p) <= packet_size for p in packets)


@pytest.mark.parametrize("packet_size", [100, 200, 65535])
@pytest.mark.parametrize("bpp", [0.1, 0.3])
def test_a_quota_is_used_up(photograph, bpp, packet_size):
    picture = np.tile(photograph, (3, 3))
    budget = int(bpp * picture.size / 8)
    assert 0.9 * budget <= len(joined(picture, budget=budget, packet_size=packet_size)) <= budget


@pytest.mark.parametrize("shape", [(1, 1), (17, 90), (64, 72)])
def test_coarse_detail_is_what_g1_leaves_of_means(shape):
    picture, model = pictures.texture(*shape), default_model()
    description = Description(1, 1, model.model_id, shape[1], shape[0], 0, 0, Colour.GREY)
    (found,) = coarse_detail(picture, description, model)
    padded = np.pad(picture.astype(int) - 128, [(0, -side % 8) for side in shape], "edge")
    for (row, column), left in np.ndenumerate(found):
        block = padded[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        means = [block[y : y + 2, x : x + 2].sum() for y in range(0, 8, 2) for x in range(0, 8, 2)]
        a = int((block.ravel() * model.weights[0].astype(int)).sum())
        assert left == sum(int(m) ** 2 for m in means) // 4 - (a * a * model.norm >> 40)


def test_a_model_that_the_c_encoder_has_no_room_for_is_refused():
    model = default_model()
    with pytest.raises(ModelError, match="shift"):
        header(replace(model, shift=model.shift + np.uint8(2)))


def test_a_quota_moves_the_index_between_packets_only():
    calm, busy = pictures.gradient(200, 400), pictures.texture(200, 400)
    packets, _ = scan(joined(np.concatenate([calm, busy]), budget=4000, packet_size=200))
    indices = [p.index for p in packets]
    assert max(indices) - min(indices) >= 2 * KEEP_INDEX


def test_packets_leave_before_the_picture_ends():
    picture = pictures.texture(400, 250)
    packets = list(compress_stream(picture, quality=60, packet_size=100))
    assert unpack(packets[0])[0].sections[0].first == 0
    tall = list(compress_stream(np.concatenate([picture, picture]), quality=60, packet_size=100))
    same = sum(
        unpack(a)[0].sections[0].payload == unpack(b)[0].sections[0].payload
        for a, b in zip(packets[:20], tall[:20], strict=True)
    )
    assert same == 20


def test_a_short_quota_makes_a_smear_and_no_hole(photograph):
    picture = np.tile(photograph, (3, 3))
    picture[: len(photograph)] = 128
    found = decompress(joined(picture, budget=picture.size // 100, packet_size=200), enhance="plain")
    assert found.mask.min() > 0


@pytest.mark.parametrize("budget", [1000, 2040])
def test_nor_does_it_leave_one_in_the_last_row_of_chroma(budget):
    packets, _ = scan(joined(pictures.colourful(190, 260), budget=budget, packet_size=200))
    decoding = Decoding(packets[0].description, default_model())
    decoding.add(packets)
    assert not any((plane.first_index == MISSING).any() for plane in decoding.planes)


def test_the_first_packet_knows_the_first_row():
    calm, busy = pictures.gradient(8, 200), pictures.noise(8, 200)
    rest = pictures.texture(200, 200)
    first = [scan(joined(np.concatenate([top, rest]), budget=900, packet_size=200))[0][0].index for top in (calm, busy)]
    assert first[0] < first[1]


@pytest.mark.parametrize("size", [{"quality": 40}, {"budget": 6000}])
def test_any_packets_of_a_group_but_as_many_as_it_has_parity_restore_the_rest(size):
    picture = pictures.texture(200, 400)
    packed = list(compress_stream(picture, packet_size=200, parity=(40, 20), **size))
    whole = decompress(b"".join(packed), enhance="plain").image
    packets = [unpack(p)[0] for p in packed]
    may_go = {(p.index, p.body[0]): p.body[3] for p in packets if p.kind == Kind.PARITY}
    assert sum(may_go.values()) > 4
    kept = []
    for packet, data in zip(packets, packed, strict=True):
        group = packet.index, (packet.body or packet.erasure or [None])[0]
        if may_go.get(group, 0) > 0:
            may_go[group] -= 1
        else:
            kept.append(data)
    assert np.array_equal(decompress(b"".join(kept), enhance="plain").image, whole)


@given(st.integers(55, 3000), st.integers(55, 260), st.sampled_from([0, 10, 50, 300]), st.sampled_from([0, 25, 100]))
def test_parity_is_within_the_quota(budget, packet_size, first, rest):
    packets = list(
        compress_stream(pictures.noise(50, 300), budget=budget, packet_size=packet_size, parity=(first, rest))
    )
    assert sum(map(len, packets)) <= budget
    assert all(len(p) <= packet_size for p in packets)


@pytest.mark.parametrize("burst", [1, 4])
def test_an_expected_loss_interleaves_a_stream_and_none_changes_nothing(burst):
    picture = pictures.texture(120, 200)
    plain = joined(picture, budget=2000, packet_size=200)
    assert joined(picture, budget=2000, packet_size=200, expect_loss=0) == plain
    expecting = joined(picture, budget=2000, packet_size=200, expect_loss=0.1, expect_burst=burst)
    assert expecting == joined(picture, budget=2000, packet_size=200, interleave=4) != plain
    by_hand = joined(picture, budget=2000, packet_size=200, expect_loss=0.1, interleave=2, parity=(20, 0))
    assert by_hand == joined(picture, budget=2000, packet_size=200, interleave=2, parity=(20, 0))
    with pytest.raises(InputError, match="expected loss"):
        joined(picture, budget=2000, expect_loss=1.5)


def test_percent_make_groups():
    assert [Group.percent(p) for p in (0, 10, 40, 300)] == [Group(), Group(20, 2), Group(5, 2), Group(1, 3)]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "budget or a quality"),
        ({"budget": 100, "quality": 3}, "budget or a quality"),
        ({"quality": 101}, "quality"),
        ({"budget": 20}, "quota"),
        ({"quality": 3, "scale": 8}, "scale"),
        ({"quality": 3, "packet_size": 47}, "packet size"),
        ({"quality": 3, "packet_size": 54, "parity": (10, 0)}, "packet size"),
        ({"quality": 3, "parity": (0, 1700)}, "percent"),
        ({"quality": 3, "tag": 70000}, "tag"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(options, what):
    with pytest.raises(InputError, match=what):
        joined(pictures.gradient(20, 20), **options)
    with pytest.raises(InputError, match="8-bit"):
        joined(pictures.deep(20, 20), quality=3)
