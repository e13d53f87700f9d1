"""Command-line pieces of `onboard-compress` that speak of the link: radios, airtime, erasure packets, sending again."""

from __future__ import annotations

import argparse
from os.path import isfile
from typing import Any

from onboard.airtime import RADIOS, airtime_bytes, check_bitrate, check_framing, seconds_on_air
from onboard.arguments import extensions_of, packet_size_of
from onboard.errors import InputError
from onboard.framing import FRAMINGS, HEADERS, frame
from onboard.image_io import STDIO, read_bytes
from onboard.model import find_model, load_model
from onboard.options import OF_A_PREVIEW, named, refuse
from onboard.packer import least_size
from onboard.scan import scan
from onboard.unframe import unframe
from onboard.wire import MAX_PACKET, Extension, ExtensionType, Packet, pack

DEFAULT_APID, DEFAULT_CALLS = 1, "OBC>QST"
NOT_FOR_A_KEPT_STREAM = (*OF_A_PREVIEW, "budget", "bpp", "quality", "lossless", "check")


def add_radio(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("radio link")
    group.add_argument(
        "--parity",
        type=percentages,
        metavar="P[,Q]",
        help="erasure packets in percent of the packets of layer 0 (P) and above (Q, default P)",
    )
    group.add_argument(
        "--expect-loss",
        type=percentage,
        default=0.0,
        metavar="P",
        help="choose interleave, parity and order for this loss of packets: 0.1 or 10%%",
    )
    group.add_argument(
        "--expect-burst", type=float, default=1.0, metavar="N", help="with packets lost N in a row in the mean"
    )
    group.add_argument(
        "--order",
        choices=("layers", "spread"),
        help="coarse to fine, or layer 0 spread out so that a burst takes little of it",
    )
    group.add_argument("--radio", choices=RADIOS, help="packet size and framing of a common radio")
    group.add_argument("--overhead", type=int, metavar="N", help="bytes of framing per packet; they count in the size")
    group.add_argument("--bitrate", type=float, metavar="B", help="bits per second on the air")
    group.add_argument("--seconds", type=float, metavar="S", help="with --bitrate: time on the air, as the size")
    add_framing(group)
    group.add_argument(
        "--resend",
        type=named,
        metavar="MAP",
        help='make packets for what a missing map names (file, "-", hex or base64; from ground-decode --missing): IN '
        "is the stream that was sent, or the picture with the options of the first time. Packets are as large as the "
        "largest that was sent and say what they said, unless given anew; where all has arrived OUT is empty",
    )


def add_framing(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--framing", choices=FRAMINGS, default="none", help="put each packet in a frame (default none)")
    group.add_argument("--apid", type=int, metavar="N", help=f"with ccsds: 0 to 2046 (default {DEFAULT_APID})")
    group.add_argument(
        "--calls", metavar="FROM>TO", help=f"with kiss: call signs, such as OB1TST-7>QST (default {DEFAULT_CALLS})"
    )


def framed(stream: bytes, options: argparse.Namespace) -> bytes:
    """A stream in the frames that --framing asks for. Raises InputError."""
    if options.framing == "none":
        return stream
    source, _, destination = (options.calls or DEFAULT_CALLS).partition(">")
    apid = DEFAULT_APID if options.apid is None else options.apid
    return frame(map(pack, scan(stream)[0]), options.framing, apid, source, destination)


def check_link(options: argparse.Namespace) -> None:
    """Raise InputError for options of the link that cannot be met or would have no effect."""
    check_framing(
        packet_size_of(packet_size(options)), overhead(options), RADIOS[options.radio] if options.radio else None
    )
    if options.bitrate is not None:
        check_bitrate(options.bitrate)
    if options.apid is not None and options.framing != "ccsds":
        raise InputError("--apid goes with --framing ccsds")
    if options.calls is not None:
        if options.framing != "kiss":
            raise InputError("--calls goes with --framing kiss")
        if options.calls.count(">") != 1:
            raise InputError(f"--calls {options.calls}: must be FROM>TO, such as OB1TST-7>QST")
    if options.expect_burst != 1 and not options.expect_loss:
        raise InputError("--expect-burst goes with --expect-loss")


def percentages(text: str) -> tuple[float, float]:
    """ "40" or "40,20" to percent for layer 0 and for the layers above."""
    first, comma, rest = text.partition(",")
    try:
        return float(first), float(rest if comma else first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not P or P,Q: percent, such as 40,20") from None


def percentage(text: str) -> float:
    """ "0.1" or "10%" to a fraction."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction such as 0.1, nor percent such as 10%") from None


def packet_size(options: argparse.Namespace) -> int:
    """What --packet says, or else what the radio carries."""
    if options.packet is not None:
        return int(options.packet)
    return RADIOS[options.radio].payload if options.radio else MAX_PACKET


def overhead(options: argparse.Namespace) -> int:
    """Bytes of framing per packet."""
    if options.overhead is not None:
        return int(options.overhead)
    return RADIOS[options.radio].overhead if options.radio else HEADERS[options.framing]


def radio_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `compress` out of the options of add_radio. Raises InputError."""
    found = {
        "packet_size": packet_size(options),
        "overhead": overhead(options),
        "parity": options.parity,
        "order": options.order,
        "expect_loss": options.expect_loss,
        "expect_burst": options.expect_burst,
    }
    if options.seconds is not None:
        if options.bitrate is None or any(x is not None for x in (options.budget, options.bpp, options.quality)):
            raise InputError("--seconds needs --bitrate, and is a size of its own: no --budget, --bpp or --quality")
        found["budget"] = airtime_bytes(options.bitrate, options.seconds)
    return found


def on_air(stream: bytes, options: argparse.Namespace) -> dict[str, Any]:
    """What a stream takes on the air, for the report."""
    sizes = [len(pack(p)) for p in scan(stream)[0]]
    if options.radio is None and options.overhead is None:
        size = len(framed(stream, options))  # the escapes of KISS are among them
    else:
        size = sum(sizes) + overhead(options) * len(sizes)
    found: dict[str, Any] = {"framed_bytes": size}
    if options.bitrate is not None:
        found["seconds_on_air"] = round(seconds_on_air(sizes, overhead(options), options.bitrate), 3)
    return found


def kept_stream(data: bytes, options: argparse.Namespace) -> bytes | None:
    """What a file of packets holds, without frames; None for one without any, such as a picture.

    Raises InputError for options that only the coding of a picture heeds.
    """
    stream = unframe(data)
    if not scan(stream)[0]:
        return None
    refuse(options, NOT_FOR_A_KEPT_STREAM, "is for pictures: of a stream, what was coded is sent again")
    return stream


def send_again(stream: bytes, options: argparse.Namespace) -> bytes:
    """The packets that --resend asks for, out of a stream; none when all has arrived. Raises InputError."""
    from onboard.missing import read_map
    from onboard.resend import resend

    given, is_file = options.resend, options.resend == STDIO or isfile(options.resend)
    text = given.encode(errors="replace")  # a command line may hold bytes that are no text
    try:
        wanted = read_map(read_bytes(given) if is_file else text)
    except InputError as e:
        raise InputError(f"--resend {text.decode()}: {'' if is_file else 'no such file, and '}{e}") from None
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
    extensions = extensions_again(packets, options)
    if options.packet is None and options.radio is None:  # the link carried what was sent
        size = max(least_size(packets[0].description, packets[0].extensions), *(len(pack(p)) for p in packets))
    else:
        size = packet_size(options)
    return b"".join(map(pack, resend(packets, wanted, model, size, extensions)))


def extensions_again(packets: list[Packet], options: argparse.Namespace) -> tuple[Extension, ...]:
    """What packets say beside the picture, of each type what was given anew or else what the first of them says."""
    given = extensions_of(options.source_id, options.time, options.metadata)
    found = {e.type: e for p in reversed(packets) for e in p.extensions if e.type != ExtensionType.ERASURE}
    return tuple((found | {e.type: e for e in given}).values())
