"""Time and energy: of encoding, from counted instructions; of the link, from bytes on the air."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from firmware_sim.devices import MICROCONTROLLER, Counts, Device, Transmitter, counts
from onboard.airtime import seconds_on_air
from onboard.image_io import as_jpeg
from onboard.quality import psnr


@dataclass(frozen=True)
class Cost:
    """What one encoding takes.

    Attributes:
        instructions: of the C encoder, from those counted per pixel; None for a computer.
        cycles, seconds, joules: estimates, with the device's cycles per instruction or per pixel.
    """

    instructions: float | None
    cycles: float
    seconds: float
    joules: float


@dataclass(frozen=True)
class OnAir:
    """What sending takes: bytes without framing, packets, seconds and joules with it."""

    size: int
    packets: int
    seconds: float
    joules: float


def encoding_cost(device: Device, pixels: int, colour: bool, interleave_log2: int = 0, protected: bool = False) -> Cost:
    """Cost of a picture of so many camera pixels; at a reduced scale it is an upper bound. Raises InputError.

    Instructions were counted at 0.1 bits per pixel; busier pictures take up to a quarter more.
    """
    if device.kind != MICROCONTROLLER:
        return _cost(device, None, pixels * device.cycles_per_pixel[colour])
    counted = counts(device.counted, colour, interleave_log2, protected)
    instructions = pixels * (counted.analysis + counted.coding)
    return _cost(device, instructions, instructions * device.cycles_per_instruction)


def _cost(device: Device, instructions: float | None, cycles: float) -> Cost:
    seconds = cycles / device.clock
    return Cost(instructions, cycles, seconds, seconds * device.watts)


def encoder_bytes(counted: Counts, width: int, packet: int) -> int:
    """RAM of an encoder for another width and packet size than those measured: an estimate, in proportion upwards."""
    return ceil(counted.encoder * max(width / counted.width, 1) * max(packet / counted.packet, 1))


def on_air(sizes: Sequence[int], radio: Transmitter, bitrate: float | None = None) -> OnAir:
    """Sending packets of the given sizes, each in a frame of its own."""
    seconds = seconds_on_air(sizes, radio.overhead, bitrate or radio.bitrate)
    return OnAir(sum(sizes), len(sizes), seconds, seconds * radio.watts)


def jpeg_on_air(size: int, radio: Transmitter, bitrate: float | None = None) -> OnAir:
    """Sending a file of that size in frames as full as the radio's allow."""
    whole, rest = divmod(size, radio.payload)
    return on_air([radio.payload] * whole + [rest] * (rest > 0), radio, bitrate)


def jpeg(picture: np.ndarray, quality: int) -> tuple[int, float]:
    """Bytes and PSNR in dB of a picture as JPEG; 16-bit samples are brought to 8 by their largest first."""
    if picture.dtype != np.uint8:
        picture = (picture * (255.0 / max(int(picture.max()), 1))).astype(np.uint8)
    data, decoded = as_jpeg(picture, quality)
    return len(data), psnr(picture, decoded)
