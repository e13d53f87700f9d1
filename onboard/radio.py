"""Command-line pieces of `onboard-compress` that speak of the link: erasure packets and sending again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onboard.errors import InputError
from onboard.image_io import STDIO, read_bytes
from onboard.missing import read_map
from onboard.model import find_model, load_model
from onboard.resend import resend
from onboard.wire import MAGIC, pack, scan


def add_radio(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("radio link")
    group.add_argument(
        "--parity",
        type=percentages,
        metavar="P[,Q]",
        help="erasure packets in percent of the packets of layer 0 (P) and above (Q, default P)",
    )
    group.add_argument(
        "--resend",
        metavar="MAP",
        help="make packets for what a missing map names (file, hex or base64; from ground-decode --missing): IN is the "
        "stream that was sent, or the picture with the options of the first time",
    )


def percentages(text: str) -> tuple[float, float]:
    """ "40" or "40,20" to percent for layer 0 and for the layers above."""
    first, comma, rest = text.partition(",")
    try:
        return float(first), float(rest if comma else first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not P or P,Q: percent, such as 40,20") from None


def radio_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `compress` out of the options of add_radio."""
    return {"parity": options.parity}


def kept_stream(path: str) -> bytes | None:
    """The packets of a file that begins with one; None for anything else, such as a picture."""
    if path == STDIO:
        return None
    try:
        with Path(path).open("rb") as f:
            is_stream = int.from_bytes(f.read(2), "big") >> 4 == MAGIC
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None
    return read_bytes(path) if is_stream else None


def send_again(stream: bytes, options: argparse.Namespace) -> bytes:
    """The packets that --resend asks for, out of a stream. Raises InputError; also when nothing is missing."""
    given = options.resend
    wanted = read_map(read_bytes(given) if Path(given).is_file() else given.encode())
    if not wanted.spans:
        raise InputError("the missing map names nothing: all has arrived")
    packets = [
        p for p in scan(stream)[0] if (p.description.picture_id, p.description.tag) == (wanted.picture_id, wanted.tag)
    ]
    if not packets:
        raise InputError(
            f"no packet of picture {wanted.picture_id}/{wanted.tag:04x}, which the missing map names: give the stream "
            "that was sent, or the picture with the options that made it"
        )
    extra = {m.model_id: m for m in [load_model(options.model)]} if options.model else {}
    model = find_model(packets[0].description.model_id, extra)
    return b"".join(map(pack, resend(packets, wanted, model, options.packet)))
