"""Arguments that cannot be used: an error of ours for each, in one line that says what was given and what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.arguments import budget_of
from onboard.missing import map_of
from onboard.model import default_model
from onboard.resend import resend
from onboard.scan import scan
from tests.make_vectors import deep_scene, scene
from tests.test_erasure import split

GREY = scene(40, 56, 1)
DEEP = deep_scene(40, 56, 1)


@pytest.fixture(scope="module")
def base() -> bytes:
    return onboard.compress(GREY, quality=30)


@pytest.mark.parametrize("picture", [None, "in.png", GREY.tolist(), Image.fromarray(GREY)])
def test_a_picture_that_is_no_array_is_refused_with_a_way_to_one(picture: Any) -> None:
    with pytest.raises(onboard.InputError, match=r"picture of type \w+: must be a numpy array .* np\.asarray"):
        onboard.compress(picture)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budget": "2k"}, "budget '2k': must be a whole number of bytes"),
        ({"budget": float("nan")}, "budget nan: must be a whole number"),
        ({"bpp": "1"}, "bits per pixel '1': must be more than 0"),
        ({"quality": "high"}, "quality 'high': must be 0 "),
        ({"scale": "foo"}, "scale 'foo': must be 1, 2, 4"),
        ({"scale": 2.5}, "scale 2.5: must be 1, 2, 4"),
        ({"parity": 40}, "parity 40: must be percent .* such as "),
        ({"parity": (40,)}, "parity .40,.: must be percent"),
        ({"parity": (5000, 1)}, "parity 5000 and 1: must be 0 to 1000 percent"),
        ({"image_id": 3.5}, "image id 3.5: must be 0 to 65535"),
        ({"tag": "x"}, "tag 'x': must be 0 to 65535"),
        ({"packet_size": 200.5}, "packet size 200.5: must be a whole number of bytes"),
        ({"interleave": "2"}, "interleave '2': must be 1, 2 or 4"),
        ({"overhead": -1}, "framing of -1 bytes: must not be negative"),
        ({"overhead": "x"}, "overhead 'x': must be a whole number of bytes"),
        ({"expect_loss": "10%"}, "expected loss '10%': must be a fraction"),
        ({"expect_loss": 0.1, "expect_burst": float("inf")}, "expected burst inf: must be"),
        ({"expect_loss": 0.1, "expect_burst": 0.5}, "expected bursts of 0.5 packets: must be 1 or more"),
        ({"curve": 5}, "curve 5: must be linear or sqrt"),
        ({"source_id": 5}, "source id 5: must be text"),
        ({"metadata": b"x"}, "metadata b'x': must be text"),
        ({"capture_time_ms": "now"}, "capture time 'now': must be whole milliseconds"),
        ({"model": 5}, "model 5: must be a Model or the name of its file"),
        ({"model": np.zeros((40, 40))}, "model array.*: must be a Model"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(onboard.InputError, match=says) as e:
        onboard.compress(GREY, **options)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("window", [(5,), 5, "ab", (3.5, 9)])
def test_a_window_that_is_no_pair_of_samples_is_refused(window: Any) -> None:
    with pytest.raises(onboard.InputError, match=r"window .*: must be \(low, high\)"):
        onboard.compress(DEEP, window=window)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"quality": 30, "parity": 40}, "parity 40: must be percent"),
        ({"quality": 30, "image_id": 3.5}, "image id 3.5"),
        ({"quality": 30, "packet_size": "200"}, "packet size '200'"),
        ({"quality": 30, "scale": "auto"}, "scale 'auto': must be 1, 2, 4"),
        ({"budget": "2k"}, "budget '2k'"),
    ],
)
def test_a_stream_refuses_options_of_the_wrong_kind_before_its_first_packet(options: dict[str, Any], says: str) -> None:
    with pytest.raises(onboard.InputError, match=says):
        onboard.compress_stream(GREY, **options)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bpp": float("nan")}, "bits per pixel nan: must be more than 0"),
        ({"bpp": float("inf")}, "bits per pixel inf: must be more than 0"),
        ({"budget": "2k"}, "budget '2k'"),
        ({"budget": 500, "packet_size": 10}, "packet size 10: must be 48 to 65535"),
        ({"budget": 500, "packet_size": 66000}, "packet size 66000: must be 48 to 65535"),
        ({"lossless": True, "packet_size": 66000}, "packet size 66000: must be 48 to 65535"),
        ({"budget": 500, "packet_size": 200, "metadata": "x" * 190}, "packet size 200: must be 236 to 65535"),
        ({"budget": 500, "regions": [(0, 0, 16)]}, r"region .0, 0, 16.: must be \(x, y, width, height\)"),
        ({"budget": 500, "regions": (0, 0, 16, 16)}, "region 0: must be .* regions a list"),
        ({"budget": 500, "regions": 5}, "regions 5: must be "),
        ({"budget": 500, "regions": [(8, 8, 0, 8)]}, "region 8,8,0,8 is empty"),
    ],
)
def test_a_refinement_refuses_what_it_cannot_use(base: bytes, options: dict[str, Any], says: str) -> None:
    with pytest.raises(onboard.InputError, match=says):
        onboard.refine(GREY, base, **options)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("metadata", [None, "x" * 190])
def test_the_smallest_packets_hold_any_refinement(metadata: str | None) -> None:
    noise = np.random.default_rng(1).integers(0, 65536, (40, 56), np.uint16)
    size = 48 if metadata is None else 17 + 5 + 193 + 4 + 22
    sent = onboard.compress(noise, quality=30, interleave=4)
    options = {"packet_size": size, "metadata": metadata, "regions": [(8, 8, 30, 20)]}
    more = onboard.refine(noise, sent, budget=30000, **options)
    assert max(map(len, split(more))) <= size
    assert onboard.decompress(sent + more, enhance="plain").report["layers"]["unused_sections"] == 0


@pytest.mark.parametrize("size", [40, 66000])
def test_packets_are_sent_again_in_packet_sizes_that_there_are_only(base: bytes, size: int) -> None:
    packets = scan(base)[0]
    wanted = map_of(packets[0].description, [(0, np.ones(3, bool))])
    assert resend(packets, wanted, default_model(), 200)
    with pytest.raises(onboard.InputError, match=f"packet size {size}: must be 48 to 65535"):
        resend(packets, wanted, default_model(), size)


@pytest.mark.parametrize("packets", ["in.obp", Path("in.obp"), None, 5, [1]])
@pytest.mark.parametrize("use", [onboard.decompress, onboard.describe, lambda sent: onboard.refine(GREY, sent, bpp=1)])
def test_packets_that_are_no_bytes_are_refused(use: Any, packets: Any) -> None:
    with pytest.raises(onboard.InputError, match=r"packets .*: must be bytes .* Path\(name\)\.read_bytes"):
        use(packets)


def test_packets_may_come_as_one_run_of_bytes_or_as_several() -> None:
    packets = split(onboard.compress(GREY, quality=60, packet_size=100))
    whole = b"".join(packets)
    assert len(packets) > 1
    for several in (packets, iter(packets), [bytearray(whole)], memoryview(whole)):
        assert onboard.describe(several) == onboard.describe(whole)
    assert onboard.refine(GREY, iter(packets), budget=500) == onboard.refine(GREY, whole, budget=500)


def test_a_single_model_is_one_of_the_models(base: bytes, tmp_path: Path) -> None:
    with pytest.raises(onboard.ModelError, match=r"nope\.obm: No such file"):
        onboard.decompress(base, models="nope.obm")
    with pytest.raises(onboard.InputError, match="models 5: must be models or the names"):
        onboard.decompress(base, models=5)  # type: ignore[arg-type]
    path = tmp_path / "one.obm"
    path.write_bytes(default_model().data)
    assert (onboard.decompress(base, models=path, enhance="plain").image.shape) == GREY.shape


def test_numbers_of_numpy_and_whole_ones_as_floating_point_are_as_good(base: bytes) -> None:
    usual = onboard.compress(GREY, budget=300, packet_size=100, image_id=7, parity=(40, 20))
    options = {"budget": 300.0, "packet_size": np.int64(100), "image_id": np.uint16(7), "parity": [40, np.float32(20)]}
    assert onboard.compress(GREY, **options) == usual
    whole = np.array([[0, 0, 16, 16]])
    assert onboard.refine(GREY, base, budget=300, regions=whole) == onboard.refine(
        GREY, base, budget=300, regions=[(0, 0, 16, 16)]
    )


def test_a_budget_has_no_upper_end() -> None:
    assert budget_of(100, 10**400, None) == budget_of(100, 1 << 32, None) == budget_of(1 << 32, None, 9e5) < 1 << 32


def test_every_error_that_is_told_of_can_be_imported_by_name() -> None:
    assert {name for name in dir(onboard) if name.endswith("Error")} <= set(onboard.__all__)
    assert "BudgetError" in onboard.__all__
