"""Boards and radios of devices.toml, and the instructions that were counted on emulated cores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from firmware_sim.settings import REQUIRED, Table, parse_toml
from onboard.airtime import RADIOS
from onboard.errors import InputError

MICROCONTROLLER, COMPUTER = "microcontroller", "computer"
PROFILES = "devices.toml"
COUNTED = "firmware.json"
KIB = 1024


@dataclass(frozen=True)
class Device:
    """A board or chip. The comment at the top of devices.toml says what each figure means.

    Attributes:
        ram, flash: bytes. clock: Hz.
        estimates: figures that come from no data sheet; sources: where every figure comes from, or of what it is one.
    """

    key: str
    name: str
    kind: str
    clock: float
    ram: int
    flash: int
    volts: float
    milliamps: float
    estimates: tuple[str, ...]
    sources: dict[str, str]
    counted: str = ""
    cycles_per_instruction: float = 0.0
    cycles_per_pixel: tuple[float, ...] = ()
    runtime: int = 0
    bytes_per_sample: float = 0.0

    @property
    def watts(self) -> float:
        """Drawn while it encodes."""
        return self.volts * self.milliamps / 1000


@dataclass(frozen=True)
class Transmitter:
    """A radio: watts while it sends, bits per second on the air, and which of airtime.RADIOS frames its packets."""

    key: str
    name: str
    watts: float
    bitrate: float
    framing: str
    estimates: tuple[str, ...]
    sources: dict[str, str]

    @property
    def overhead(self) -> int:
        """Bytes of framing per packet."""
        return RADIOS[self.framing].overhead

    @property
    def payload(self) -> int:
        """Most bytes of a packet."""
        return RADIOS[self.framing].payload


@dataclass(frozen=True)
class Counts:
    """What one build of the C encoder took on an emulated core.

    Attributes:
        width, packet: what it keeps memory for. flash, encoder, stack: bytes.
        analysis, coding: instructions per camera pixel.
    """

    width: int
    packet: int
    flash: int
    encoder: int
    stack: int
    analysis: float
    coding: float


@cache
def profiles() -> tuple[dict[str, Device], dict[str, Transmitter]]:
    """All devices and radios by key. Raises InputError."""
    top = parse_toml((files("firmware_sim") / PROFILES).read_text(), PROFILES)
    devices, radios = top.table("device"), top.table("radio")
    top.done()
    found = {key: _device(key, devices.table(key)) for key in devices.data}
    return found, {key: _radio(key, radios.table(key)) for key in radios.data}


def find_device(key: str) -> Device:
    return _find(key, profiles()[0], "device")


def find_radio(key: str) -> Transmitter:
    return _find(key, profiles()[1], "radio")


def _find(key: str, known: dict[str, Any], what: str) -> Any:
    if key not in known:
        raise InputError(f"{what} {key!r} is not in {PROFILES}: known are {', '.join(known)}")
    return known[key]


def _device(key: str, t: Table) -> Device:
    kind = t.text("kind", choices=(MICROCONTROLLER, COMPUTER))
    small = kind == MICROCONTROLLER
    found = Device(
        key,
        t.text("name"),
        kind,
        clock=1e6 * t.number("clock_mhz", 1, 1e5),
        ram=KIB * t.integer("ram_kib", 1, 1 << 30),
        flash=KIB * t.integer("flash_kib", 1, 1 << 30),
        volts=t.number("volts", 0.5, 60),
        milliamps=t.number("milliamps", 0.1, 1e5),
        estimates=t.texts("estimates"),
        sources=_sources(t),
        counted=t.text("counted", REQUIRED if small else ""),
        cycles_per_instruction=t.number("cycles_per_instruction", 0.25, 20, REQUIRED if small else 0.0),
        cycles_per_pixel=t.numbers("cycles_per_pixel", 2, () if small else REQUIRED),
        runtime=KIB * KIB * t.integer("runtime_mib", 1, 1 << 20, 0 if small else REQUIRED),
        bytes_per_sample=t.number("bytes_per_sample", 1, 100, 0.0 if small else REQUIRED),
    )
    t.done()
    return found


def _radio(key: str, t: Table) -> Transmitter:
    found = Transmitter(
        key,
        t.text("name"),
        watts=t.number("watts", 0, 1e4),
        bitrate=t.number("bitrate", 1, 1e10),
        framing=t.text("framing", choices=tuple(RADIOS)),
        estimates=t.texts("estimates"),
        sources=_sources(t),
    )
    t.done()
    return found


def _sources(t: Table) -> dict[str, str]:
    sources = t.table("sources")
    return {key: sources.text(key) for key in sources.data}


@cache
def _measured() -> list[dict[str, Any]]:
    try:
        found = json.loads((files("firmware_sim") / COUNTED).read_text())["results"]
    except (OSError, ValueError, KeyError):
        raise InputError(f"{COUNTED} with the counted instructions is missing or broken: make firmware") from None
    return list(found)


def counts(core: str, colour: bool, interleave_log2: int, protected: bool = False) -> Counts:
    """The measured build that is nearest: same core and colour, erasure packets and interleave if there is one.

    Raises InputError.
    """
    rows = [r for r in _measured() if r["core"] == core and bool(r["limits"]["colour"]) == colour]
    if not rows:
        raise InputError(f"{COUNTED} has no {'colour' if colour else 'grey'} build for a {core}: make firmware")

    def distance(row: dict[str, Any]) -> tuple[bool, int]:
        limits = row["limits"]
        return bool(limits["parity"]) != protected, abs(limits["interleave_log2"] - interleave_log2)

    r = min(rows, key=distance)
    return Counts(
        width=r["limits"]["width"],
        packet=r["limits"]["packet"],
        flash=r["flash"],
        encoder=r["encoder"],
        stack=r["stack"],
        analysis=r["analysis_per_pixel"],
        coding=r["coding_per_pixel"],
    )
