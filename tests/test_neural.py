"""The neural decoders: tiles make no difference, nothing gets worse, and what is exact stays exact."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.errors import InputError, ModelError
from onboard.ground import nets, neural
from onboard.ground.cli import main as decode
from onboard.ground.pictures import ENHANCE, Store, decode_picture
from onboard.job import Job
from onboard.model import default_model
from onboard.shot import single_shot
from onboard.wire import MAX_PACKET, Colour
from tests.pictures import checkerboard, colourful, gradient, noise, texture
from training.pictures import describe
from training.synthetic import drawing

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install '.[ground]'")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def shown(data: bytes, enhance: str) -> np.ndarray:
    return onboard.decompress(data, enhance=enhance).image


@pytest.mark.parametrize("name", nets.NETS)
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_make_no_difference(name: str, scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pytest.importorskip("skimage.data").astronaut()[:300, 40:440]
    data = onboard.compress(np.ascontiguousarray(picture), quality=30, scale=scale)
    whole = planes_of(shown(data, name))
    monkeypatch.setattr(neural, "TILE", 14)
    tiles = planes_of(shown(data, name))
    assert np.abs(tiles - whole).max() <= 3  # rounding, and that of RGB
    assert np.abs(tiles - whole).mean() < 0.01


def planes_of(picture: np.ndarray) -> np.ndarray:
    """Y, Cb and Cr of a colour picture, signed."""
    return np.asarray(Image.fromarray(picture).convert("YCbCr")).astype(int)


def test_progress_counts_every_tile_of_luma_and_chroma(
    monkeypatch: pytest.MonkeyPatch, colour_photograph: np.ndarray
) -> None:
    monkeypatch.setattr(neural, "TILE", 14)
    store, met = Store(), []
    store.add(onboard.compress(colour_photograph, quality=30))
    decode_picture(store, store.descriptions()[0], enhance="small", progress=lambda *n: met.append(n))
    assert met == [(n, 8) for n in range(1, 9)]  # 2x3 tiles of 7 blocks in luma, 1x2 in chroma


def test_the_name_of_a_file_tells_which_net_it_is() -> None:
    name = nets.ARTEFACT.format(net="small", part="doubled", model="b9d5", radius=12)
    assert nets.named(name) == ("small", "doubled", "b9d5", 12)
    assert nets.named("small-doubled-b9d5-r12-before.tflite") is None
    assert nets.named("small-doubled-b9d5-r12.json") is None


def test_a_net_for_other_inputs_is_named(photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    chroma = nets.net_file("small", "chroma", default_model().model_id)
    nets.load_net.cache_clear()
    monkeypatch.setattr(nets, "net_file", lambda *_: chroma)
    with pytest.raises(ModelError, match=r"small-chroma-.*\.tflite: has 136 inputs where a net of luma has 32"):
        onboard.decompress(onboard.compress(photograph, quality=30), enhance="small")
    nets.load_net.cache_clear()


@pytest.mark.parametrize("name", nets.NETS)
def test_a_net_beats_the_linear_decoder_on_a_photograph(name: str) -> None:
    picture = pytest.importorskip("skimage.data").camera()
    streams = [onboard.compress(picture, quality=quality) for quality in (10, 25, 40, 55)]
    gains = [psnr(shown(data, name), picture) - psnr(shown(data, "linear"), picture) for data in streams]
    assert min(gains) > 0, gains
    assert np.mean(gains) > 0.05, gains


@pytest.mark.parametrize("name", ["small", "large"])  # the perceptual net gives up fidelity for looks
@pytest.mark.parametrize("quality", [10, 40, 75])
@pytest.mark.parametrize(
    "picture",
    [
        np.full((96, 128), 77, np.uint8),
        gradient(96, 128),
        noise(96, 128),
        checkerboard(96, 128, 11),
        texture(97, 131),
        np.zeros((64, 64), np.uint8),
    ],
    ids=["flat", "gradient", "noise", "squares", "texture", "black"],
)
def test_no_picture_gets_worse_than_the_plain_one(name: str, quality: int, picture: np.ndarray) -> None:
    data = onboard.compress(picture, quality=quality)
    plain, net = (min(psnr(shown(data, e), picture), 50.0) for e in ("plain", name))
    assert net > plain - 0.1


def hues(side: int) -> np.ndarray:
    """Every hue around a centre, paler towards it."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    hue, saturation = (np.arctan2(y, x) + np.pi) / (2 * np.pi), np.minimum(np.hypot(x, y), 1)
    parts = [np.rint(255 * p).astype(np.uint8) for p in (hue, saturation, np.ones_like(hue))]
    return np.asarray(Image.merge("HSV", [Image.fromarray(p) for p in parts]).convert("RGB"))


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize("quality", [10, 40, 75])
@pytest.mark.parametrize(
    "picture",
    [
        hues(192),
        colourful(97, 131),
        checkerboard(96, 128, 11)[..., None] // np.array([1, 2, 3], np.uint8),
        np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8),
    ],
    ids=["hues", "texture", "squares", "noise"],
)
def test_no_colour_gets_worse_than_the_plain_one(name: str, quality: int, picture: np.ndarray) -> None:
    data = onboard.compress(picture, quality=quality)
    pictures = picture, *(shown(data, e) for e in ("plain", name))
    truth, plain, net = (planes_of(np.ascontiguousarray(p)) for p in pictures)
    for i in range(3):
        before, after = (min(psnr(made[..., i], truth[..., i]), 45.0) for made in (plain, net))
        assert after > before - 0.1


@pytest.mark.parametrize("scale", [1, 2])
def test_a_flat_picture_stays_as_it_is(scale: int) -> None:
    picture = np.full((96, 128, 3), (77, 91, 60), np.uint8)
    data = onboard.compress(picture, quality=40, scale=scale)
    small, plain = (shown(data, e).astype(int) for e in ("small", "plain"))
    assert (small == plain).all()


def test_a_net_conceals_losses_better_than_the_linear_decoder(photograph: np.ndarray) -> None:
    data = onboard.compress(photograph, quality=35, packet_size=100)
    packets = split(data)
    gains = []
    for seed in range(8):
        kept = [
            p for p, draw in zip(packets, np.random.default_rng(seed).random(len(packets)), strict=True) if draw > 0.2
        ]
        linear, small = (onboard.decompress(kept, enhance=e) for e in ("linear", "small"))
        assert (linear.mask == small.mask).all()
        gains.append(psnr(small.image, photograph) - psnr(linear.image, photograph))
    assert np.mean(gains) > 0.3


def split(data: bytes) -> list[bytes]:
    out = []
    while data:
        length = int.from_bytes(data[15:17], "big")
        out.append(data[:length])
        data = data[length:]
    return out


def test_a_picture_of_one_tile_decodes_first() -> None:
    nets.load_net.cache_clear()
    side = 4 * neural.TILE
    picture = np.tile(texture(96, 96), (8, 8))
    assert picture.shape == (side, side)
    assert shown(onboard.compress(picture, quality=20), "small").shape == (side, side)


def test_a_net_without_a_part_for_a_picture_leaves_it_to_the_small_one_and_says_so(photograph: np.ndarray) -> None:
    own, halved, layered = (
        onboard.decompress(onboard.compress(photograph, **how), enhance="perceptual").report
        for how in ({"quality": 30}, {"quality": 30, "scale": 2}, {"bpp": 0.5})
    )
    assert (own["decoder"], own["why"]) == ("perceptual", "asked for")
    assert halved["decoder"] == layered["decoder"] == "small"
    assert "no perceptual net of doubled luma" in halved["why"]
    assert "no perceptual net of layered luma" in layered["why"]


@pytest.mark.parametrize("how", [{"quality": 30}, {"quality": 30, "scale": 2}, {"bpp": 0.5}], ids=str)
def test_the_mean_of_mirror_images_is_better_than_one(how: dict[str, float], photograph: np.ndarray) -> None:
    data = onboard.compress(photograph, **how)
    assert psnr(shown(data, "large"), photograph) > psnr(shown(data, "small"), photograph)
    assert onboard.decompress(data, enhance="large").report["decoder"] == "large"


def test_colour_comes_from_the_small_net_where_another_has_none(colour_photograph: np.ndarray) -> None:
    data = onboard.compress(colour_photograph, quality=40)
    small, looks, linear = (shown(data, e).astype(int) for e in ("small", "perceptual", "linear"))
    # what separates the colour of two pictures depends on their luma little, but for what is cut off
    painted, plain = (np.abs((p[..., 0] - p[..., 2]) - (small[..., 0] - small[..., 2])).mean() for p in (looks, linear))
    assert painted < plain / 2


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_colour_gains_at_every_scale(scale: int) -> None:
    picture = pytest.importorskip("skimage.data").astronaut()
    data = onboard.compress(picture, quality=30, scale=scale)
    pictures = picture, *(shown(data, e) for e in ("plain", "linear", "small", "large"))
    truth, plain, linear, small, large = (planes_of(p)[..., 1:] for p in pictures)
    assert psnr(large, truth) > psnr(small, truth) > psnr(linear, truth) > psnr(plain, truth)


def test_threads_may_decode_side_by_side(photograph: np.ndarray) -> None:
    streams = [onboard.compress(photograph[:, : 160 - 8 * i], quality=30) for i in range(4)]
    expected = [shown(data, "small") for data in streams]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: shown(streams[i % 4], "small"), range(16)))
    assert all((g == expected[i % 4]).all() for i, g in enumerate(got))


def test_colour_is_no_worse_than_the_linear_decoders(colour_photograph: np.ndarray) -> None:
    data = onboard.compress(colour_photograph, quality=40)
    assert psnr(shown(data, "small"), colour_photograph) > psnr(shown(data, "linear"), colour_photograph)


def test_a_file_that_is_no_net_is_named(
    photograph: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no net" * 9)
    data = onboard.compress(photograph, quality=30)
    nets.load_net.cache_clear()
    monkeypatch.setattr(nets, "net_file", lambda *_: (broken, 10))
    with pytest.raises(ModelError, match=r"broken\.tflite: not a LiteRT file"):
        onboard.decompress(data, enhance="small")
    nets.load_net.cache_clear()


@pytest.mark.parametrize("which", ["luma", "chroma"])
@pytest.mark.parametrize("fault", ["cut", "other inputs"])
def test_auto_passes_over_a_file_that_is_no_such_net_and_says_so(
    fault: str, which: str, colour_photograph: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {part: nets.net_file("small", part, default_model().model_id) for part in ("luma", "chroma")}
    broken = tmp_path / "broken.tflite"
    whole = found["luma" if which == "chroma" else "chroma"][0].read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if fault == "cut" else whole)
    nets.load_net.cache_clear()
    for module in (nets, neural):
        monkeypatch.setattr(module, "net_file", lambda _, part, *__: (broken, 4) if part == which else found[part])
    data = onboard.compress(colour_photograph, quality=30)
    report = onboard.decompress(data).report
    assert report["decoder"] == "linear"
    wrong = "not a LiteRT file" if fault == "cut" else "inputs where a net of"
    assert "broken.tflite: " in report["why"] and wrong in report["why"] and "\n" not in report["why"]
    with pytest.raises(ModelError, match=wrong):
        onboard.decompress(data, enhance="small")
    nets.load_net.cache_clear()


def test_nets_of_a_folder_come_before_the_shipped_ones(
    colour_photograph: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = onboard.compress(colour_photograph, quality=30)
    luma, _ = nets.net_file("perceptual", "luma", default_model().model_id)  # in the place of the small one
    (tmp_path / "small-luma-b9d5-r4.tflite").write_bytes(luma.read_bytes())
    assert (onboard.decompress(data, nets=tmp_path).image == shown(data, "perceptual")).all()
    assert (shown(data, "small") != shown(data, "perceptual")).any()
    stream, out = tmp_path / "in.obp", tmp_path / "out.png"
    stream.write_bytes(data)
    assert decode([str(stream), "-o", str(out), "--nets", str(tmp_path)]) == 0
    assert (np.asarray(Image.open(out)) == shown(data, "perceptual")).all()
    assert decode([str(stream), "-o", str(out), "--nets", str(tmp_path / "gone")]) == 2
    assert "gone: not a folder of nets" in capsys.readouterr().err


def test_standard_error_is_left_alone_once_litert_has_announced_itself(
    photograph: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    shown(onboard.compress(photograph, quality=30), "small")
    with nets._hushed():
        os.write(2, b"from another thread")
    assert capfd.readouterr().err == "from another thread"


def test_streams_made_in_one_go_get_better_too(photograph: np.ndarray) -> None:
    data = onboard.compress(photograph, bpp=0.5)
    decoded = onboard.decompress(data, enhance="small")
    assert (decoded.mask == 3).all()
    assert psnr(decoded.image, photograph) > psnr(shown(data, "linear"), photograph) + 0.1


def test_fine_steps_stay_as_they_are(photograph: np.ndarray) -> None:
    data = onboard.compress(photograph, bpp=5)
    assert (shown(data, "small") == shown(data, "linear")).all()


def at_step(picture: np.ndarray, step: int) -> bytes:
    """A stream made in one go at a step of layer 2."""
    model = default_model()
    description = replace(describe(picture, Colour.GREY), model_id=model.model_id)
    return b"".join(single_shot(Job(picture, description, model, MAX_PACKET, (), 0), step))


def test_between_fine_and_coarse_steps_blocks_get_a_share_of_their_correction(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    finest = neural.FINEST_STEP
    data = at_step(photograph, finest + 8)
    plain = shown(data, "linear").astype(int)
    moved = []
    for full in (finest + 8, finest + 16, finest + 800):
        monkeypatch.setattr(neural, "FULL_STEP", full)
        moved.append(shown(data, "small") - plain)
    whole, half, least = moved
    assert np.abs(whole).max() > 2
    assert np.abs(half - whole / 2).max() <= 1
    assert not least.any()
    assert (shown(at_step(photograph, finest), "small") == shown(at_step(photograph, finest), "linear")).all()


@pytest.mark.parametrize("step", range(neural.FINEST_STEP + 4, neural.FULL_STEP + 9, 4))
def test_drawings_at_fine_steps_are_no_worse_than_plain(step: int) -> None:
    for seed in range(4):
        picture = drawing(np.random.default_rng(seed), 192)
        data = at_step(picture, step)
        assert psnr(shown(data, "small"), picture) > psnr(shown(data, "plain"), picture) - 0.1


def test_refined_blocks_pass_unharmed(photograph: np.ndarray) -> None:
    base = onboard.compress(photograph, quality=20)
    both = base + onboard.refine(photograph, base, budget=3000, regions=[(32, 16, 64, 48)])
    linear, small = (onboard.decompress(both, enhance=e) for e in ("linear", "small"))
    refined = np.kron(linear.mask > 2, np.ones((8, 8), bool))
    assert refined.any()
    assert not refined.all()
    assert (linear.image[refined] == small.image[refined]).all()
    assert (linear.image[~refined] != small.image[~refined]).any()


def test_lossless_stays_lossless(colour_photograph: np.ndarray) -> None:
    data = onboard.compress(colour_photograph, lossless=True)
    assert (shown(data, "small") == colour_photograph).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (8, 8), (97, 131, 3), (16, 24, 3), (1, 1, 3)])
@pytest.mark.parametrize("scale", [1, 2, 8])
def test_every_size_and_scale_decodes(shape: tuple[int, ...], scale: int) -> None:
    picture = np.resize(texture(97, 131), shape)
    decoded = onboard.decompress(onboard.compress(picture, quality=40, scale=scale), enhance="small")
    assert decoded.image.shape == shape
    assert decoded.report["decoder"] == "small"


def test_auto_takes_the_small_net_and_says_so(photograph: np.ndarray) -> None:
    report = onboard.decompress(onboard.compress(photograph, quality=30)).report
    assert (report["decoder"], report["why"]) == ("small", "the best decoder at hand")


def test_without_litert_auto_is_linear_and_a_net_by_name_is_refused(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    data = onboard.compress(photograph, quality=30)
    report = onboard.decompress(data).report
    assert report["decoder"] == "linear"
    assert "LiteRT is not installed" in report["why"]
    with pytest.raises(InputError, match="LiteRT is not installed"):
        onboard.decompress(data, enhance="small")


@pytest.mark.parametrize("enhance", ENHANCE)
def test_the_picture_says_which_decoder_made_it(
    enhance: str, photograph: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream, out = tmp_path / "in.obp", tmp_path / "out.png"
    stream.write_bytes(onboard.compress(photograph, quality=30))
    assert decode([str(stream), "-o", str(out), "--enhance", enhance]) == 0
    expected = "small" if enhance == "auto" else enhance
    with Image.open(out) as image:
        assert image.text["onboard:decoder"] == expected
        assert image.text["onboard:received"] == "1.0000"
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"{expected} decoder" in said
