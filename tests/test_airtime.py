"""Airtime as a budget: what is filled is what fits, framing included."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.airtime import RADIOS, airtime_bytes, seconds_on_air
from onboard.cli import main as compress
from onboard.errors import InputError
from tests.make_vectors import scene
from tests.test_cli import one_line
from tests.test_erasure import split


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(scene(400, 600, 1)).save(path)
    return path


@pytest.mark.parametrize("parity", [None, (40, 20)])
@pytest.mark.parametrize("overhead", [0, 20, 150])
@pytest.mark.parametrize("budget", [1500, 4000])
def test_the_framing_of_every_packet_counts(budget: int, overhead: int, parity: tuple | None) -> None:
    packets = split(
        onboard.compress(scene(400, 600, 1), budget=budget, packet_size=200, overhead=overhead, parity=parity)
    )
    framed = sum(len(p) + overhead for p in packets)
    assert 0.9 * budget - 200 * (parity is not None) < framed <= budget


def test_a_minute_at_1200_bits_per_second_is_filled(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(png), "--bitrate", "1200", "--seconds", "30", "--packet", "218", "--overhead", "20", "--json"]
    assert compress(argv) == 0
    (made,) = json.loads(capsys.readouterr().out)
    packets = split(Path(made["output"]).read_bytes())
    assert made["framed_bytes"] == sum(len(p) + 20 for p in packets) <= 30 * 1200 / 8
    assert made["framed_bytes"] > 0.94 * 30 * 1200 / 8  # steps of a refinement are some 4 % apart
    assert made["seconds_on_air"] == pytest.approx(made["framed_bytes"] * 8 / 1200, abs=1e-3)
    assert sum(made["layer_bytes"].values()) == made["bytes"]
    assert {"0", "1", "2", "headers"} == set(made["layer_bytes"])


@pytest.mark.parametrize("radio", RADIOS)
def test_every_radio_gets_packets_that_it_carries(radio: str, png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(png), "--radio", radio, "--bitrate", "9600", "--seconds", "10", "--parity", "30", "--json"]
    assert compress(argv) == 0
    (made,) = json.loads(capsys.readouterr().out)
    packets = split(Path(made["output"]).read_bytes())
    assert max(map(len, packets)) <= RADIOS[radio].payload
    assert made["framed_bytes"] == sum(len(p) + RADIOS[radio].overhead for p in packets) <= 12000
    assert made["layer_bytes"]["parity"] > 0


def test_the_lora_overhead_is_that_of_the_datasheet_formula() -> None:
    def overhead(factor: int, optimised: bool) -> int:
        bits = factor - 2 * optimised
        symbols = 12.25 + 8 + ceil((8 * 255 - 4 * factor + 28 + 16) / (4 * bits)) * 5
        return ceil(symbols * bits * 4 / 5 / 8) - 255

    usual = [overhead(factor, False) for factor in range(7, 13)]
    optimised = [overhead(factor, True) for factor in (11, 12)]
    assert (usual[0], max(usual + optimised)) == (19, RADIOS["lora"].overhead)


def test_the_overhead_of_ax25_counts_stuffed_bits() -> None:
    """After five ones in a row a zero is put in: once in 62 random bits in the mean."""
    rng = np.random.default_rng(5)
    ones = stuffed = 0
    bits = rng.integers(0, 2, 2_000_000)
    for bit in bits.tolist():
        ones = ones + 1 if bit else 0
        if ones == 5:
            stuffed, ones = stuffed + 1, 0
    frame = RADIOS["ax25"].payload + 18  # all but the flags
    assert 20 + frame * stuffed / len(bits) == pytest.approx(RADIOS["ax25"].overhead, abs=0.6)


def test_what_fits_no_radio_or_makes_no_sense_gets_one_line(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (
        ["--radio", "lora", "--packet", "256"],
        ["--seconds", "60"],
        ["--seconds", "60", "--bitrate", "1200", "--budget", "900"],
        ["--seconds", "0", "--bitrate", "1200"],
        ["--seconds", "0.01", "--bitrate", "1200"],
        ["--overhead", "-1"],
        ["--expect-loss", "1.5"],
        ["--expect-burst", "0"],
    ):
        assert compress([str(png), *argv]) == 2
        one_line(capsys)
    with pytest.raises(InputError):
        airtime_bytes(float("nan"), 5)
    assert airtime_bytes(1200, 60) == 9000
    assert seconds_on_air([130, 130], 20, 1200) == 2.0


def test_an_expected_loss_adds_parity_or_interleave_and_none_changes_nothing() -> None:
    picture = scene(400, 600, 1)
    plain = onboard.compress(picture, budget=4000, packet_size=200)
    assert onboard.compress(picture, budget=4000, packet_size=200, expect_loss=0) == plain
    for loss in (0.05, 0.3):
        made = onboard.compress(picture, budget=4000, packet_size=200, expect_loss=loss)
        found = onboard.describe(made)
        assert found["interleave"] > 1 or "parity" in found["layer_bytes"]
        assert len(made) <= 4000


def test_a_large_airtime_adds_layers_and_protects_them_too() -> None:
    picture = scene(200, 300, 4)
    options = {"budget": 9000, "packet_size": 218, "overhead": 20}
    plain = onboard.compress(picture, **options)
    guarded = onboard.compress(picture, parity=(60, 30), **options)
    for stream in (plain, guarded):
        packets = split(stream)
        assert 0.9 * 9000 < sum(len(p) + 20 for p in packets) <= 9000
        assert max(map(len, packets)) <= 218
        assert onboard.describe(stream)["layer_bytes"]["2"] > 1000
    whole = onboard.decompress(guarded)
    lossy = onboard.decompress([p for i, p in enumerate(split(guarded)) if i % 8])
    assert lossy.complete
    assert (lossy.image == whole.image).all()
    base = onboard.decompress(onboard.compress(picture, quality=100, scale=1)).image.astype(int)
    error = [float(((image.astype(int) - picture) ** 2).mean()) for image in (whole.image, base)]
    assert error[0] < error[1] / 2


def test_small_packets_of_a_size_are_spread_and_others_are_not() -> None:
    picture = scene(200, 300, 1)
    for interleave, options in (
        (4, {"budget": 2000, "packet_size": 200}),
        (1, {"budget": 2000, "packet_size": 200, "interleave": 1}),
        (1, {"budget": 500, "packet_size": 200}),
        (1, {"budget": 2000}),
        (1, {"quality": 40, "packet_size": 200}),
    ):
        assert onboard.describe(onboard.compress(picture, **options))["interleave"] == interleave
