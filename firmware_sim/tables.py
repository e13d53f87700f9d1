"""`firmware-sim devices`: what a picture costs on each device, and what its preview saves on each radio."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from firmware_sim.board import Board, Builds
from firmware_sim.devices import Transmitter, profiles
from firmware_sim.energy import jpeg, jpeg_on_air, on_air
from firmware_sim.frames import Frame, luma
from firmware_sim.mission import DEFAULT_BPP, DEFAULT_PACKET, Setup
from onboard import decompress
from onboard.errors import InputError
from onboard.image_io import read_picture
from onboard.options import byte_size
from onboard.quality import psnr
from onboard.wire import MAX_PACKET, MIN_PACKET

WIDTH, HEIGHT = 640, 480
JPEG_QUALITY = 20
ENCODER = "stm32f407"  # whose preview is compared with the JPEG


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Options of `firmware-sim devices`."""
    parser.add_argument("--image", metavar="FILE", help=f"a picture; a made-up landscape of {WIDTH}x{HEIGHT} without")
    parser.add_argument(
        "--bpp", type=float, default=DEFAULT_BPP, metavar="X", help=f"of the preview (default {DEFAULT_BPP})"
    )
    parser.add_argument("--packet", type=byte_size, default=DEFAULT_PACKET, metavar="N", help="most bytes of a packet")
    parser.add_argument(
        "--jpeg", type=int, default=JPEG_QUALITY, metavar="Q", help=f"its quality (default {JPEG_QUALITY})"
    )


def devices_command(options: argparse.Namespace) -> dict[str, Any]:
    """All figures. Raises InputError."""
    if not 1 <= options.jpeg <= 100:
        raise InputError(f"--jpeg {options.jpeg}: must be 1 to 100")
    if not MIN_PACKET <= options.packet <= MAX_PACKET:
        raise InputError(f"--packet {options.packet}: must be {MIN_PACKET} to {MAX_PACKET} bytes")
    if not 0.001 <= options.bpp <= 8:
        raise InputError(f"--bpp {options.bpp:g}: must be 0.001 to 8")
    frame = Frame(1, "made-up", 0.0, None, (WIDTH, HEIGHT), True, 0)
    colour = read_picture(options.image) if options.image else frame.picture()
    if colour.dtype != np.uint8:
        raise InputError(f"{options.image}: a picture of 8 bits is needed")
    grey = luma(colour)
    kinds = {"grey": grey, "RGB": colour} if colour.ndim == 3 else {"grey": grey}
    devices, radios = profiles()
    with tempfile.TemporaryDirectory() as folder:
        builds = Builds(Path(folder))
        boards = [Board(Setup(d, d.key, bpp=options.bpp, packet=options.packet), builds) for d in devices.values()]
        rows = [row for board in boards for row in _device(board, kinds)]
        board = next(b for b in boards if b.setup.device.key == ENCODER)
        preview = board.encode(frame, grey)
    size, quality = jpeg(grey, options.jpeg)
    return {
        "picture": options.image or "made up",
        "width": grey.shape[1],
        "height": grey.shape[0],
        "devices": rows,
        "preview": {
            "bytes": sum(map(len, preview)),
            "packets": len(preview),
            "psnr": round(psnr(grey, decompress(preview).image), 2),
        },
        "jpeg": {"quality": options.jpeg, "bytes": size, "psnr": round(quality, 2)},
        "radios": [_radio(radio, list(map(len, preview)), size) for radio in radios.values()],
    }


def _device(board: Board, kinds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """A device's rows, one for each kind of picture; each estimate of the profile is named."""
    device = board.setup.device
    rows = []
    for kind, picture in kinds.items():
        need = board.need(picture)
        pixels = picture.shape[0] * picture.shape[1]
        instructions = need.cost.instructions
        rows.append(
            {
                "device": device.key,
                "name": device.name,
                "kind": kind,
                "clock_mhz": device.clock / 1e6,
                "watts": round(device.watts, 4),
                "ram": need.ram,
                "ram_of": device.ram,
                "flash": need.flash,
                "flash_of": device.flash,
                "instructions_per_pixel": None if instructions is None else round(instructions / pixels, 2),
                "cycles_per_pixel": round(need.cost.cycles / pixels, 2),
                "seconds": round(need.cost.seconds, 6),
                "joules": round(need.cost.joules, 6),
                "refused": board.refusal(picture, need, float("inf"), 0),
                "estimates": list(device.estimates),
                "sources": device.sources,
            }
        )
    return rows


def _radio(radio: Transmitter, sizes: list[int], other: int) -> dict[str, Any]:
    ours, theirs = on_air(sizes, radio), jpeg_on_air(other, radio)
    return {
        "radio": radio.key,
        "name": radio.name,
        "watts": radio.watts,
        "bitrate": radio.bitrate,
        "preview_s": round(ours.seconds, 3),
        "preview_j": round(ours.joules, 4),
        "jpeg_s": round(theirs.seconds, 3),
        "jpeg_j": round(theirs.joules, 4),
        "saved_j": round(theirs.joules - ours.joules, 4),
        "estimates": list(radio.estimates),
        "sources": radio.sources,
    }


def devices_text(found: dict[str, Any], sources: bool) -> str:
    """The two tables, and with `sources` where every figure comes from."""
    lines = [
        f"{found['picture']}, {found['width']}x{found['height']}; ms and mJ are estimates from counted instructions; ~ "
        "marks a figure of the profile that is one (-v: sources)",
        "device       picture     MHz        W   RAM bytes  of KiB  flash  i/pixel  cycles/pixel        ms        mJ",
    ]
    for r in found["devices"]:
        count = "-" if r["instructions_per_pixel"] is None else f"{r['instructions_per_pixel']:.1f}"
        watts = "~" * ("milliamps" in r["estimates"]) + f"{r['watts']:.3f}"
        lines.append(
            f"{r['device']:12s} {r['kind']:7s} {r['clock_mhz']:7.0f} {watts:>8s} {r['ram']:11d} "
            f"{r['ram_of'] // 1024:7d} {r['flash']:6d} {count:>8s} {'~' + format(r['cycles_per_pixel'], '.1f'):>13s} "
            f"{1000 * r['seconds']:9.2f} {1000 * r['joules']:9.3f}"
            + (f"  refused: {r['refused']}" * bool(r["refused"]))
        )
    p, j = found["preview"], found["jpeg"]
    lines += [
        "",
        f"grey preview of {p['bytes']} bytes in {p['packets']} packets ({p['psnr']:.2f} dB) against a JPEG of quality "
        f"{j['quality']}, {j['bytes']} bytes ({j['psnr']:.2f} dB); framing included",
        "radio          W     bit/s  preview s  preview J     JPEG s     JPEG J    saved J",
    ]
    for r in found["radios"]:
        watts = "~" * ("watts" in r["estimates"]) + f"{r['watts']:.3g}"
        lines.append(
            f"{r['radio']:10s} {watts:>5s} {r['bitrate']:9.0f} {r['preview_s']:10.2f} {r['preview_j']:10.3f} "
            f"{r['jpeg_s']:10.2f} {r['jpeg_j']:10.3f} {r['saved_j']:10.3f}"
        )
    if sources:
        seen = {r.get("device") or r["radio"]: r for r in [*found["devices"], *found["radios"]]}
        for key, r in seen.items():
            lines.append(f"\n{key}: {r['name']}")
            for figure, source in r["sources"].items():
                mark = " (estimate)" if figure in r["estimates"] else ""
                lines.append(f"  {figure}{mark}: {source}")
    return "\n".join(lines)
