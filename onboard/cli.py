"""`onboard-compress`: pictures to preview packets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from onboard import DEFAULT_BPP, MAX_PACKET, compress, compress_stream, decompress, describe, refine
from onboard.cli_refine import SUFFIX as REFINE_SUFFIX
from onboard.cli_refine import add_refine, check_options, contents, refine_picture, sent_before
from onboard.errors import InputError, OnboardError
from onboard.image_io import STDIO, check_outputs, encode_picture, read_bytes, read_picture, read_raw, write_bytes
from onboard.options import OK, PARTIAL, UNUSABLE, Parser, add_talk, byte_size, named, print_json, refuse, run, say
from onboard.quality import psnr, ssim
from onboard.radio import add_radio, check_link, framed, kept_stream, on_air, packet_size, radio_arguments, send_again

SUFFIX = ".obp"
NOT_IN_A_STREAM = (
    "bpp",
    "lossless",
    "window",
    "curve",
    "no_data",
    "all_data",
    "source_id",
    "time",
    "metadata",
    "order",
    "seconds",
    "overhead",
)
NOTHING = {"bytes": 0, "packets": 0}  # what describe() says of a stream, where there was nothing left to send
SCALES = ["auto", *(str(1 << i) for i in range(8))]


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="onboard-compress",
        description="Turn pictures into previews of a few hundred bytes to a few kilobytes, as packets of which any "
        "subset makes a picture.",
    )
    parser.add_argument("pictures", nargs="*", metavar="IN", help='picture files; "-" is standard input')
    parser.add_argument("--preview", action="store_true", help="make a preview (the default)")
    parser.add_argument("-o", "--output", type=named, metavar="OUT", help=f'file, folder or "-"; default IN{SUFFIX}')
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--budget", type=byte_size, metavar="N", help="most bytes: 1500, 2k, 2kB, 2KiB")
    size.add_argument("--bpp", type=float, metavar="X", help=f"most bits per pixel (default {DEFAULT_BPP})")
    size.add_argument(
        "--quality", type=float, metavar="Q", help="0 (coarsest) to 100 (finest preview) to 200 (lossless)"
    )
    parser.add_argument("--scale", choices=SCALES, help="code at 1/N of the size; auto with a size, else 1")
    parser.add_argument("--packet", type=byte_size, metavar="N", help=f"most bytes of a packet (default {MAX_PACKET})")
    parser.add_argument(
        "--interleave",
        type=int,
        choices=(1, 2, 4),
        help="spread neighbouring blocks over packets (default 4 for a size in packets up to 2 KiB, else 1)",
    )
    parser.add_argument("--stream", action="store_true", help="one pass, byte for byte as a microcontroller codes it")
    parser.add_argument("--tag", type=int, metavar="N", help="0 to 65535; which encoding of the picture")
    parser.add_argument("--image-id", type=int, metavar="N", help="0 to 65535; default derived from the content")
    parser.add_argument("--gray", action="store_true", help="code the luma of a colour picture only")
    parser.add_argument(
        "--raw", type=named, metavar="WxH:TYPE", help="input is a raw dump: u8, u16le, u16be, rgb888, rgb565le, ..."
    )
    parser.add_argument("--window", metavar="LOW:HIGH", help="16-bit input: samples that map to black and white")
    parser.add_argument("--curve", choices=("linear", "sqrt"), default="linear", help="16-bit input: transfer curve")
    zeros = parser.add_mutually_exclusive_group()
    zeros.add_argument(
        "--no-data",
        action="store_true",
        help="16-bit input: 0 means no data (default: where more than 1 %% of it is 0)",
    )
    zeros.add_argument("--all-data", action="store_true", help="16-bit input: 0 is a sample like any other")
    parser.add_argument("--source-id", metavar="TEXT", help="call sign or source id, put in every packet")
    parser.add_argument("--time", type=int, metavar="MS", help="capture time, milliseconds since 1970 UTC")
    parser.add_argument("--metadata", metavar="TEXT", help="free text, put in every packet")
    parser.add_argument("--model", type=named, metavar="FILE", help="model to use instead of the shipped one")
    add_radio(parser)
    parser.add_argument("--check", action="store_true", help="decode again; report PSNR and SSIM")
    parser.add_argument("--warmup", action="store_true", help="compile and cache all kernels now (at install time)")
    add_refine(parser)
    add_talk(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    return run(command, build_parser(), argv)


def command(options: argparse.Namespace) -> int:
    if options.warmup:
        warm_up(options)
    elif not options.pictures:
        raise InputError("no picture given: onboard-compress --preview IN; --help lists the options")
    check_options(options)
    check_link(options)
    outputs = [output_name(path, options) for path in options.pictures]
    if len(set(outputs)) < len(outputs):
        raise InputError("several pictures would be written to one file: give a folder with -o")
    if options.json and STDIO in outputs:
        raise InputError("--json and packets cannot both go to standard output: give a file with -o")
    results, failed = [], 0
    for path, output in zip(options.pictures, outputs, strict=True):
        try:
            check_outputs([output], inputs_of(path, options))
            result = one_picture(path, output, options)
        except OnboardError as e:  # the other pictures are worth having
            failed += 1
            results.append({"input": path, "error": str(e)})
            say(f"onboard-compress: {e}")
            continue
        results.append(result)
        if not (options.quiet or options.json):
            say(summary(result))
            if result["packets"] and (options.verbose or "seconds_on_air" in result):
                say(link_summary(result))
    if options.json and options.pictures:
        print_json(results)
    if failed:
        return UNUSABLE if failed == len(results) else PARTIAL
    return OK


def inputs_of(path: str, options: argparse.Namespace) -> list[str]:
    """The files that are read for a picture."""
    return [name for name in (path, *options.base, options.resend, options.model) if name is not None]


def output_name(path: str, options: argparse.Namespace) -> str:
    suffix = REFINE_SUFFIX if options.refine else SUFFIX
    name = ("preview" if path == STDIO else Path(path).name) + suffix
    if options.output is None:
        return STDIO if path == STDIO else path + suffix
    if options.output != STDIO and (Path(options.output).is_dir() or options.output.endswith("/")):
        return str(Path(options.output) / name)
    return str(options.output)


def one_picture(path: str, output: str, options: argparse.Namespace) -> dict[str, Any]:
    began, picture = perf_counter(), None
    sent = sent_before(options)  # before the picture, so that its errors name the base
    refinement: dict[str, Any] = {}
    try:
        read = read_bytes(path) if options.resend and not options.raw else None
        kept = None if read is None else kept_stream(read, options)
        if kept is not None:
            data = kept
        else:
            picture = read_raw(path, options.raw) if options.raw else read_picture(path, read)
            began = perf_counter()
            if options.refine:
                data, refinement = refine_picture(picture, sent, packet_size(options), options)
            else:
                data = stream(picture, options) if options.stream else coded(picture, options)
        if options.resend:
            data = send_again(data, options)
    except OnboardError as e:
        raise InputError(str(e) if str(e).startswith(path) else f"{path}: {e}") from None
    took = perf_counter() - began
    found = describe(data) if data else NOTHING
    result = {"input": path, "output": output, **found, **on_air(data, options), "seconds": round(took, 4)}
    result |= refinement
    if picture is not None and data:
        result["ratio"] = round(picture.nbytes / len(data), 1)
    return finish(picture, sent, data, result, options)


def finish(
    picture: np.ndarray | None, sent: bytes, data: bytes, result: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Check what was made, behind what had been sent before, if asked for, and write it."""
    if options.check and picture is not None and (sent or data):
        decoded = decompress(sent + data, models=[options.model] if options.model else ())
        grey = decoded.report["colour"] == "grey"
        result["decoder"] = decoded.report["decoder"]
        result["psnr"] = round(psnr(picture, decoded.image, grey), 3)
        result["ssim"] = round(ssim(picture, decoded.image, grey), 4)
    write_bytes(result["output"], framed(data, options))
    return result


def coded(picture: np.ndarray, options: argparse.Namespace) -> bytes:
    radio = radio_arguments(options)
    return compress(
        picture,
        budget=radio.pop("budget", options.budget),
        bpp=options.bpp,
        quality=options.quality,
        lossless=options.lossless,
        scale=None if options.scale is None else ("auto" if options.scale == "auto" else int(options.scale)),
        interleave=options.interleave,
        gray=options.gray,
        image_id=options.image_id,
        tag=options.tag,
        window=read_window(options.window),
        curve=options.curve,
        no_data=True if options.no_data else False if options.all_data else None,
        source_id=options.source_id,
        capture_time_ms=options.time,
        metadata=options.metadata,
        model=options.model,
        **radio,
    )


def stream(picture: np.ndarray, options: argparse.Namespace) -> bytes:
    """The picture in one pass. Options that a stream does not have are refused, not ignored."""
    refuse(options, NOT_IN_A_STREAM, "does not go with --stream")
    if options.scale == "auto":
        raise InputError("--scale auto does not go with --stream")
    packets = compress_stream(
        picture,
        budget=options.budget,
        quality=options.quality,
        scale=int(options.scale or 1),  # type: ignore[arg-type]
        packet_size=packet_size(options),
        interleave=options.interleave,
        parity=options.parity or (0, 0),
        expect_loss=options.expect_loss,
        expect_burst=options.expect_burst,
        gray=options.gray,
        image_id=options.image_id or 0,
        tag=options.tag or 0,
        model=options.model,
    )
    return b"".join(packets)


def summary(r: dict[str, Any]) -> str:
    if not r["packets"]:
        return f"{r['output']}: empty, nothing left to send"
    ratio = f"1:{r['ratio']:.0f}, " if "ratio" in r else ""
    text = (
        f"{r['output']}: {r['bytes']} bytes in {r['packets']} packet{'s'[: r['packets'] > 1]}, {r['bpp']:.4f} bpp, "
        f"{ratio}{contents(r)}, {1000 * r['seconds']:.0f} ms"
    )
    return text + (f", PSNR {r['psnr']:.2f} dB, SSIM {r['ssim']:.4f} ({r['decoder']})" if "psnr" in r else "")


def link_summary(r: dict[str, Any]) -> str:
    """How many bytes each layer got, and what they take on the air."""
    layers = r["layer_bytes"]
    text = ", ".join(f"{'layer ' if name.isdigit() else ''}{name} {layers[name]}" for name in layers)
    framing = r["framed_bytes"] - r["bytes"]
    air = f"; {r['seconds_on_air']:.2f} s on the air" if "seconds_on_air" in r else ""
    return f"{r['output']}: bytes: {text}, framing {framing}{air}"


def read_window(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    low, colon, high = text.partition(":")
    if not (colon and low.isdecimal() and high.isdecimal()):
        raise InputError(f"window {text!r}: must be LOW:HIGH, such as 120:3900")
    return int(low), int(high)


def warm_up(options: argparse.Namespace) -> None:
    """Run every kernel once on pictures of every kind, so that their compiled code is cached."""
    from onboard.kernels import CACHE_NOTE

    began = perf_counter()
    y, x = np.mgrid[:150, :210]
    grey = ((x * 3 + y * 5 + (x // 16 + y // 16) % 2 * 90) % 256).astype(np.uint8)
    raw = grey.astype(np.uint16) << 4
    colour = np.stack([grey, grey.T[:150, :150].repeat(2, 1)[:, :210], 255 - grey], -1)
    for picture in (grey, colour, raw, colour.astype(np.uint16) << 4):
        for scale in (1, 2):
            data = compress(picture, bpp=0.5, scale=scale, packet_size=200, interleave=2)
            lossy = data[200:]  # what is missing must be concealed
            for enhance in ("plain", "linear"):
                decompress(lossy, enhance=enhance)
        for bpp in (0.05, 0.15):  # where scales and layers are compared
            compress(picture, bpp=bpp)
        data = compress(picture, bpp=2)
        decompress(data + refine(picture, data, bpp=1, regions=[(8, 8, 40, 40)]))
        decompress(compress(picture, lossless=True))
    encode_picture(STDIO, grey, {})
    if not options.quiet:
        say(f"onboard-compress: kernels compiled in {perf_counter() - began:.1f} s")
        if CACHE_NOTE:
            say(f"onboard-compress: {CACHE_NOTE}")


if __name__ == "__main__":
    sys.exit(main())
