"""`onboard-compress --refine`: the additional packets that make what was sent finer, whole or in regions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from onboard import describe, refine
from onboard.errors import InputError, NothingDecodableError
from onboard.image_io import read_bytes
from onboard.options import OF_A_PREVIEW, named, refuse
from onboard.unframe import unframe

SUFFIX = ".refine.obp"
LOSSLESS = 15  # the layer
WELL_USED = 0.9  # of a budget: less is only used where the finest step needs no more


def add_refine(parser: argparse.ArgumentParser) -> None:
    """The options of refinements."""
    group = parser.add_argument_group("refinement")
    group.add_argument("--lossless", action="store_true", help="every sample exactly, behind a preview")
    group.add_argument(
        "--refine",
        action="store_true",
        help="write only what is missing from --base, for a budget; where nothing is, OUT is empty",
    )
    group.add_argument(
        "--base", action="append", type=named, default=[], metavar="FILE", help="packets that have been sent"
    )
    group.add_argument(
        "--roi", action="append", type=region, default=[], metavar="X,Y,W,H", help="refine this region only; repeatable"
    )


def region(text: str) -> tuple[int, int, int, int]:
    """ "X,Y,W,H" to four numbers."""
    numbers = text.split(",")
    if len(numbers) != 4 or not all(n.strip().isdecimal() for n in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not a region: give X,Y,WIDTH,HEIGHT in samples")
    x, y, width, height = map(int, numbers)
    return x, y, width, height


def check_options(options: argparse.Namespace) -> None:
    """Raise InputError for options of refinements that do not fit together."""
    if not options.refine:
        if options.base or options.roi:
            raise InputError("--base and --roi go with --refine")
        return
    if len(options.pictures) != 1:
        raise InputError("--refine takes one picture")
    if not options.base:
        raise InputError("--refine needs --base FILE, what has been sent of the picture")
    refuse(options, (*OF_A_PREVIEW, "overhead", "resend"), "is for previews, not for --refine")
    if options.quality is not None:
        raise InputError("a refinement is asked for by --budget, --bpp or --lossless, not by a quality")


def sent_before(options: argparse.Namespace) -> bytes:
    """The packets of all files given with --base, without frames. Raises InputError naming a file that has none."""
    found = []
    for name in options.base:
        packets = unframe(read_bytes(name))
        try:
            if packets:  # an empty file is a refinement with nothing left to send
                describe(packets)
        except NothingDecodableError as e:
            raise InputError(f"{name}: {e}; give what has been sent of the picture") from None
        found.append(packets)
    if found and not any(found):
        raise InputError(f"{', '.join(options.base)}: no packets; give what has been sent of the picture")
    return b"".join(found)


def refine_picture(
    picture: np.ndarray, sent: bytes, packet_size: int, options: argparse.Namespace
) -> tuple[bytes, dict[str, Any]]:
    """Additional packets of one picture, none where all has been sent, and what to report of a refinement.

    Args:
        sent: of sent_before().
    """
    data = refine(
        picture,
        sent,
        budget=options.budget,
        bpp=options.bpp,
        regions=options.roi,
        lossless=options.lossless,
        packet_size=packet_size,
        source_id=options.source_id,
        capture_time_ms=options.time,
        metadata=options.metadata,
        model=options.model,
    )
    budget = options.budget or (options.bpp or 0) * picture.shape[0] * picture.shape[1] / 8
    return data, {
        "base": [Path(name).name for name in options.base],
        "regions": options.roi,
        "at_finest": len(data) < WELL_USED * budget,
    }


def contents(r: dict[str, Any]) -> str:
    """What a stream holds, by its report: of a preview scale and quality, else its layers."""
    higher = [str(n) for n in r["refinements"] if n != LOSSLESS]
    layers = f"layer{'s'[: len(higher) > 1]} {', '.join(higher)}"
    exact = LOSSLESS in r["refinements"]
    if "base" in r:
        many = len(r["regions"])
        where = f"{many} region{'s'[: many > 1]}" if many else "the whole picture"
        rest = ", the finest there is below --lossless" if r["at_finest"] else ""
        return f"{'all that is missing of' if exact else f'{layers} of'} {where}{rest}"
    preview = f"scale {r['scale']}, quality {r['quality']:g}"
    if exact:
        return f"lossless behind a preview of {preview}"
    return f"layers 0 and {', '.join(higher)}" if higher else preview
