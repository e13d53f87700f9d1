"""Device profiles name their sources; time and energy follow from counted instructions and bytes on the air."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from firmware_sim.cli import main
from firmware_sim.devices import COMPUTER, Device, Transmitter, counts, find_device, find_radio, profiles
from firmware_sim.energy import encoder_bytes, encoding_cost, jpeg_on_air, on_air
from firmware_sim.settings import parse_toml
from onboard.errors import InputError
from onboard.image_io import as_jpeg
from tests.pictures import texture

NAMES = {"clock": "clock_mhz", "ram": "ram_kib", "flash": "flash_kib", "runtime": "runtime_mib"}  # here: in the file
NO_FIGURES = {"counted", "key", "name", "kind", "estimates", "sources", "framing"}


@pytest.mark.parametrize("one", [*profiles()[0].values(), *profiles()[1].values()], ids=lambda one: one.key)
def test_every_figure_of_a_profile_has_a_source_and_estimates_are_named(one: Device | Transmitter) -> None:
    figures = {NAMES.get(f.name, f.name) for f in fields(one) if getattr(one, f.name) and f.name not in NO_FIGURES}
    assert {f for f in figures if len(one.sources.get(f, "")) > 10} == figures
    assert set(one.estimates) <= set(one.sources)


def test_the_devices_that_the_project_speaks_of_are_there() -> None:
    assert {"pi-zero-2w", "pi-4", "rp2040", "stm32f407", "stm32h743", "gr712rc"} <= set(profiles()[0])
    with pytest.raises(InputError, match=r"device 'vax' is not in devices\.toml: known are .*rp2040"):
        find_device("vax")


def test_energy_follows_from_counted_instructions() -> None:
    device = replace(find_device("stm32f407"), clock=100e6, volts=3.0, milliamps=50.0, cycles_per_instruction=2.0)
    counted = counts("Cortex-M4", False, 0)
    cost = encoding_cost(device, 1000, False)
    assert cost.instructions == pytest.approx(1000 * (counted.analysis + counted.coding))
    assert cost.seconds == pytest.approx(2 * cost.instructions / 100e6)
    assert cost.joules == pytest.approx(cost.seconds * 0.15)


def test_a_computer_is_estimated_by_cycles_per_pixel() -> None:
    device = replace(find_device("pi-4"), clock=1e9, volts=5.0, milliamps=1000.0, cycles_per_pixel=(10.0, 40.0))
    assert device.kind == COMPUTER
    assert encoding_cost(device, 1000, True).seconds == pytest.approx(40e-6)
    assert encoding_cost(device, 1000, False).joules == pytest.approx(50e-6)
    assert encoding_cost(device, 1000, False).instructions is None


def test_memory_of_a_wider_picture_is_no_less_than_that_measured() -> None:
    counted = counts("Cortex-M4", False, 0)
    assert encoder_bytes(counted, 64, 48) == counted.encoder
    assert encoder_bytes(counted, 2 * counted.width, counted.packet) == 2 * counted.encoder


def test_a_core_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(InputError, match="no grey build for a PDP-11: make firmware"):
        counts("PDP-11", False, 0)


def test_the_link_takes_the_energy_of_all_bits_with_framing() -> None:
    radio = replace(find_radio("uhf"), watts=2.0, bitrate=1000.0)
    sent = on_air([100, 50], radio)
    assert sent.seconds == pytest.approx(8 * (150 + 2 * radio.overhead) / 1000)
    assert (sent.joules, sent.size, sent.packets) == (pytest.approx(2 * sent.seconds), 150, 2)
    assert on_air([100, 50], radio, 2000).seconds == pytest.approx(sent.seconds / 2)


def test_a_file_goes_in_frames_as_full_as_the_radio_allows() -> None:
    radio = find_radio("lora-sf7")
    assert jpeg_on_air(2 * radio.payload + 1, radio).packets == 3
    assert jpeg_on_air(2 * radio.payload, radio).packets == 2


def test_jpeg_is_made_for_comparison() -> None:
    picture = texture(64, 80)
    data, decoded = as_jpeg(picture, 90)
    assert data[:2] == b"\xff\xd8"
    assert np.abs(decoded.astype(int) - picture).mean() < 4
    assert len(as_jpeg(picture, 20)[0]) < len(data)


def test_the_command_prints_devices_and_what_a_preview_saves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {r["device"] for r in found["devices"]} == set(profiles()[0])
    assert all(r["joules"] > 0 for r in found["devices"])
    assert found["preview"]["bytes"] <= 0.1 * 640 * 480 / 8
    assert all(r["saved_j"] == pytest.approx(r["jpeg_j"] - r["preview_j"], abs=1e-3) for r in found["radios"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nx = 2", r"f\.toml: not TOML: "),
        ("", r"f\.toml: rate is missing: must be a number from 1 to 9"),
        ("rate = 0", r"f\.toml: rate is 0: must be a number from 1 to 9"),
        ("rate = true", r"f\.toml: rate is True: must be a number"),
        ("rate = nan", r"f\.toml: rate is nan: must be"),
        ("rate = 2\nrat = 3", r"f\.toml: rat means nothing here; did you mean rate\?"),
        ("rate = 2\nzzz = 3", r"f\.toml: zzz means nothing here; known are count, rate, store"),
        ("rate = 2\ncount = 1.5", r"f\.toml: count is 1\.5: must be a whole number"),
        ('rate = 2\nstore = "much"', r"f\.toml: store is 'much': must be bytes, such as"),
        ("rate = 2\nstore = 0", r"f\.toml: store is 0: must be bytes"),
    ],
)
def test_a_table_names_file_and_key_and_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        table = parse_toml(text, "f.toml")
        table.number("rate", 1, 9)
        table.integer("count", 1, 9, 1)
        table.size("store", None)
        table.done()
    assert parse_toml('rate = 2\nstore = "4kB"', "f.toml").size("store") == 4000
