"""`firmware-sim run`: a mission from the camera to the ground's pictures."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from firmware_sim import chart
from firmware_sim.board import Builds
from firmware_sim.devices import find_device, find_radio
from firmware_sim.flight import Flight
from firmware_sim.frames import take
from firmware_sim.link import Link
from firmware_sim.mission import (
    DEFAULT_BPP,
    DEFAULT_INTERVAL,
    DEFAULT_PACKET,
    Camera,
    Contact,
    Mission,
    Setup,
    read_mission,
)
from firmware_sim.report import check_folder, write_report
from onboard.errors import InputError
from onboard.options import OK, PARTIAL, byte_size, say
from onboard.wire import MAX_PACKET, MIN_PACKET

# Options that a mission file says itself, and what they are where neither does
DEFAULTS: dict[str, Any] = {
    "device": None,
    "radio": "uhf",
    "bitrate": None,
    "pass_": 480.0,
    "passes": 1,
    "gap": 5400.0,
    "loss": 0.0,
    "burst": None,
    "budget": None,
    "bpp": DEFAULT_BPP,
    "packet": DEFAULT_PACKET,
    "scale": 1,
    "interleave": None,
    "gray": False,
    "interval": DEFAULT_INTERVAL,
    "resend": True,
    "ask_every": None,
}


def add_run(parser: argparse.ArgumentParser) -> None:
    """Options of `firmware-sim run`."""
    parser.add_argument(
        "mission",
        nargs="?",
        metavar="MISSION",
        help='a mission file (TOML), or "cubesat", which comes along; or say all with options',
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the report")
    parser.add_argument("--image", nargs="+", metavar="PATH", help="what the camera sees: picture files and folders")
    parser.add_argument("--seed", type=int, metavar="N", help="same seed, same losses (default 0)")
    group = parser.add_argument_group("instead of a mission file")
    group.add_argument(
        "--device", action="append", metavar="NAME", help="one of `firmware-sim devices`; may be repeated"
    )
    group.add_argument("--radio", metavar="NAME", help=f"one of `firmware-sim devices` (default {DEFAULTS['radio']})")
    group.add_argument("--bitrate", type=float, metavar="B", help="bits per second on the air (default: the radio's)")
    group.add_argument("--pass", dest="pass_", type=float, metavar="S", help="seconds of a pass (default 480)")
    group.add_argument("--passes", type=int, metavar="N", help="how many of them (default 1)")
    group.add_argument("--gap", type=float, metavar="S", help="seconds between two passes (default 5400)")
    group.add_argument("--loss", type=float, metavar="P", help="fraction of packets lost, 0 to 1 (default 0)")
    group.add_argument("--burst", type=float, metavar="N", help="mean number of packets lost in a row")
    size = group.add_mutually_exclusive_group()
    size.add_argument("--budget", type=byte_size, metavar="N", help="most bytes of a picture")
    size.add_argument(
        "--bpp", type=float, metavar="X", help=f"most bits per pixel of a picture (default {DEFAULT_BPP})"
    )
    group.add_argument(
        "--packet", type=byte_size, metavar="N", help=f"most bytes of a packet (default {DEFAULT_PACKET})"
    )
    group.add_argument("--scale", type=int, choices=(1, 2, 4, 8, 16, 32, 64, 128), help="code at 1/N of the size")
    group.add_argument("--interleave", type=int, choices=(1, 2, 4), help="spread neighbouring blocks (default 1)")
    group.add_argument("--gray", action="store_true", default=None, help="the camera delivers grey")
    group.add_argument(
        "--interval", type=float, metavar="S", help=f"seconds between frames (default {DEFAULT_INTERVAL:g})"
    )
    group.add_argument(
        "--ask-every", type=float, metavar="S", help="ask for what is missing within a pass too, every S seconds"
    )
    group.add_argument(
        "--no-resend", dest="resend", action="store_false", default=None, help="never ask for what is missing"
    )


def run_command(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str, int]:
    """Fly the mission and write the report; returns the figures of every device, their table and the exit status."""
    check_folder(options.output)
    mission = from_options(options)
    frames = take(mission.camera, mission.seed)
    bar = Bar(not (options.quiet or options.json) and sys.stderr.isatty())
    flights = []
    with tempfile.TemporaryDirectory() as folder:
        builds = Builds(Path(folder))
        for setup in mission.setups:
            flights.append(Flight(mission, setup, frames, builds))
            flights[-1].run(bar.show)
    bar.clear()
    refused = [r for f in flights for r in f.refused]
    if len(refused) == len(flights) * len(frames):
        raise InputError(f"no frame fits: {refused[0].frame.name}: {refused[0].why}")
    figures, table = write_report(flights, options.output)
    if not (chart.available() or options.quiet):
        say(f"firmware-sim: {chart.MISSING}")
    if options.verbose:
        say(f"{options.output}: report written; where the devices' figures come from: firmware-sim devices -v")
    return figures, table, PARTIAL if refused else OK


def from_options(options: argparse.Namespace) -> Mission:
    """The mission that the command line asks for. Raises InputError."""
    given = [name for name in DEFAULTS if getattr(options, name) is not None]
    images = tuple(Path(p) for p in options.image or ())
    if options.mission:
        if given:
            name = given[0].rstrip("_").replace("_", "-")
            raise InputError(f"--{name} is for missions without a file: {options.mission} says it itself")
        mission = read_mission(options.mission)
        if images:
            mission = replace(mission, camera=replace(mission.camera, images=images))
        return mission if options.seed is None else replace(mission, seed=options.seed)
    if not (options.device and images):
        raise InputError("give a mission file, or --device and --image; --help lists the options")
    o = {name: DEFAULTS[name] if getattr(options, name) is None else getattr(options, name) for name in DEFAULTS}
    for name, low, high in (
        ("pass_", 0.001, 1e9),
        ("passes", 1, 10_000),
        ("gap", 0, 1e9),
        ("interval", 0.001, 1e9),
        ("ask_every", 0.1, 1e9),
        ("bpp", 0.001, 8),
        ("packet", MIN_PACKET, MAX_PACKET),
    ):
        if o[name] is not None and not low <= o[name] <= high:
            raise InputError(f"--{name.rstrip('_').replace('_', '-')} {o[name]:g}: must be {low:g} to {high:g}")
    radio = find_radio(o["radio"])
    bitrate = radio.bitrate if o["bitrate"] is None else o["bitrate"]
    if not 1 <= bitrate <= 1e10:
        raise InputError(f"--bitrate {bitrate:g}: must be 1 to 1e10 bits per second")
    if o["budget"] is not None and o["budget"] < 1:
        raise InputError("--budget: must be at least 1 byte")
    link = Link(o["loss"], o["burst"], overhead=radio.overhead)
    camera = Camera(images, interval=o["interval"])
    first = camera.interval * len(take(camera, 0))  # the pass comes when all frames are taken
    contacts = tuple(
        Contact(first + i * (o["pass_"] + o["gap"]), o["pass_"], bitrate, link) for i in range(o["passes"])
    )
    keys = ("budget", "bpp", "packet", "scale", "interleave", "gray")
    setups = tuple(Setup(find_device(key), key, **{k: o[k] for k in keys}) for key in o["device"])
    return Mission(
        camera,
        setups,
        replace(radio, bitrate=bitrate),
        contacts,
        options.seed or 0,
        o["resend"],
        ask_every=o["ask_every"],
    )


class Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    WIDTH = 30

    def __init__(self, on: bool) -> None:
        self.on = on

    def show(self, what: str, done: int, total: int) -> None:
        if self.on:
            filled = self.WIDTH * done // max(total, 1)
            bar = "#" * filled + "." * (self.WIDTH - filled)
            print(f"\r{what:24s} [{bar}] {done}/{total}\033[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.on:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
