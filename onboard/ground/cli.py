"""`ground-decode`: packets of any number of files to pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from onboard.arguments import folder_of
from onboard.errors import InputError, ModelError, NothingDecodableError, OnboardError
from onboard.framing import IDLE_APID
from onboard.ground.linear import parse_neighbours
from onboard.ground.listen import add_listen, listen_command
from onboard.ground.nets import check_folder
from onboard.ground.pictures import DEFAULT_MAX_PIXELS, ENHANCE, Decoded, Store, decode_picture
from onboard.ground.refined import LOSSLESS
from onboard.image_io import (
    STDIO,
    check_outputs,
    encode_picture,
    is_special,
    picture_format,
    png_bytes,
    read_bytes,
    read_picture,
    write_bytes,
)
from onboard.layer_header import FIRST_REFINEMENT
from onboard.missing import LEAST_MAP, map_text
from onboard.model import load_model
from onboard.options import (
    OK,
    PARTIAL,
    UNUSABLE,
    Parser,
    add_talk,
    byte_size,
    named,
    print_json,
    progress_bar,
    refuse,
    run,
    say,
)
from onboard.quality import psnr, ssim
from onboard.unframe import UNFRAMINGS, unframe
from onboard.wire import Colour, Description

# Of the mask's values (FORMAT.md, 7.3): red where nothing came, then the lighter the more layers, white where lossless
MASK_COLOURS = np.zeros((256, 3), np.uint8)
MASK_COLOURS[0] = 190, 40, 40
MASK_COLOURS[1:16] = [235, 245, 255] - 0.7 ** np.arange(15)[:, None] * [215, 205, 155]
MASK_COLOURS[255] = 255


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ground-decode",
        description="Rebuild pictures from preview packets: any files, any order, duplicates and gaps allowed. "
        "Exit status 0: all there; 1: a picture was made but something is missing or corrupt; 2: nothing usable.",
    )
    parser.add_argument("inputs", nargs="*", metavar="IN", help='files of packets; "-" is standard input')
    parser.add_argument(
        "-o", "--output", type=named, metavar="OUT", help='picture file, folder or "-"; default IN.preview.png'
    )
    parser.add_argument(
        "--reference", type=named, metavar="ORIG", help="original picture: report PSNR and SSIM against it"
    )
    parser.add_argument("--framing", choices=UNFRAMINGS, default="auto", help="how packets are framed (default auto)")
    parser.add_argument("--apid", type=int, metavar="N", help="CCSDS: take space packets of this APID only")
    parser.add_argument(
        "--mask",
        type=named,
        metavar="FILE",
        help="write what was received per 8x8 block as a PNG: red nothing, the lighter the more layers",
    )
    parser.add_argument(
        "--missing",
        type=named,
        metavar="MAP",
        help="write what to send again; as text when MAP ends in .hex or .b64 (base64)",
    )
    parser.add_argument(
        "--missing-limit", type=byte_size, metavar="N", help="most bytes of it; may ask for more blocks"
    )
    parser.add_argument("--enhance", choices=ENHANCE, default="auto", help="how to show the latents (default auto)")
    parser.add_argument("--model", action="append", type=named, default=[], metavar="FILE", help="know this model too")
    parser.add_argument(
        "--neighbours", type=named, metavar="FILE", help="matrices of `onboard-train neighbours` for that model"
    )
    parser.add_argument("--nets", type=named, metavar="DIR", help="look here for nets before the shipped ones")
    parser.add_argument(
        "--max-pixels", type=int, default=DEFAULT_MAX_PIXELS, metavar="N", help="refuse larger pictures"
    )
    add_listen(parser)
    add_talk(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    return run(command, build_parser(), argv)


def command(options: argparse.Namespace) -> int:
    check_options(options)
    check_places(options)
    models = [load_model(path) for path in options.model]
    store = Store({m.model_id: m for m in models}, nets=folder_of(options.nets))
    if options.neighbours:
        try:
            store.neighbours = parse_neighbours(read_bytes(options.neighbours))
        except ModelError as e:
            raise ModelError(f"{options.neighbours}: {e}") from None
    if not (options.inputs or options.listen):
        raise InputError("no packets given: ground-decode IN, or --listen URL; --help lists the options")
    for path in options.inputs:
        try:
            report = store.add(unframe(read_bytes(path), options.framing, options.apid), path)
        except MemoryError:
            raise InputError(f"{path}: too large to read") from None
        if options.verbose:
            say(f"{path}: {report.packets} packets, {report.corrupt} corrupt, {report.skipped_bytes} bytes skipped")
    plain = None
    if options.listen:
        options.inputs = options.inputs or [STDIO]
        plain = listen_command(store, options, lambda d, several: one_picture(store, d, several, options))
    try:
        found = store.descriptions()
    except NothingDecodableError as e:
        if options.apid is None:
            raise
        raise NothingDecodableError(f"{e}; space packets of other APIDs than {options.apid} were left out") from None
    whole = not any(r.corrupt or r.other_versions or r.skipped_bytes for r in store.sources.values())
    if len(found) > 1 and STDIO in outputs_of(options):
        why = "packets of several pictures: give files, or a folder with -o, not standard output"
        if not options.listen:
            raise InputError(why)
        found, whole = [d for d in store.origins if d in found][:1], False  # what was sent will not be sent again
        say(f"ground-decode: {why}; this is {name_of(found[0])}, which came first")
    results, failed = [], 0
    for description in found:
        try:
            several = len(found) > 1 and description != plain
            decoded, result = one_picture(store, description, several, options)
        except OnboardError as e:  # the other pictures are worth having
            failed += 1
            results.append({"picture_id": description.picture_id, "tag": description.tag, "error": str(e)})
            say(f"ground-decode: {f'picture {name_of(description)}: ' if len(found) > 1 else ''}{e}")
            continue
        whole &= decoded.complete
        results.append(result)
        if not (options.quiet or options.json):
            say(summary(result))
    sources = {name: vars(report) for name, report in store.sources.items()}
    if options.json:
        print_json({"pictures": results, "sources": sources})
    elif not (whole or options.quiet):
        for name, r in sources.items():
            if r["corrupt"] or r["other_versions"] or r["skipped_bytes"]:
                say(
                    f"{name}: {r['packets']} packets used, {r['corrupt']} corrupt, {r['other_versions']} of another "
                    f"version, {r['skipped_bytes']} bytes skipped"
                )
    if failed == len(found):
        return UNUSABLE
    return OK if whole and not failed else PARTIAL


def check_options(options: argparse.Namespace) -> None:
    """Raise InputError for options that would have no effect."""
    if not options.listen:
        refuse(options, ("live", "every", "idle"), "goes with --listen")
    elif not options.live:
        refuse(options, ("every",), "goes with --live")
    if not options.missing:
        refuse(options, ("missing_limit",), "goes with --missing")
    if options.missing_limit is not None and options.missing_limit < LEAST_MAP:
        raise InputError(f"--missing-limit {options.missing_limit}: must be at least {LEAST_MAP} bytes")
    if options.framing in ("none", "kiss"):
        refuse(options, ("apid",), "goes with --framing ccsds or auto")
    if options.apid is not None and not 0 <= options.apid < IDLE_APID:
        raise InputError(f"--apid {options.apid}: must be 0 to {IDLE_APID - 1}")


def check_places(options: argparse.Namespace) -> None:
    """Raise InputError where there is no place for what is asked for, before any packet is waited for."""
    check_folder(folder_of(options.nets))
    outputs = outputs_of(options)
    if options.json and STDIO in outputs:
        raise InputError("--json and what -o, --missing or --mask write cannot both go to standard output")
    check_outputs([str(Path(name) / "x.png") if Path(name).is_dir() else name for name in outputs], inputs_of(options))
    if options.output and not (Path(options.output).is_dir() or options.output.endswith("/")):
        picture_format(options.output)
    if options.reference and options.listen:
        read_picture(options.reference)


def outputs_of(options: argparse.Namespace) -> list[str]:
    """The names of what is asked for, as they were given."""
    return [name for name in (options.output, options.missing, options.mask) if name]


def inputs_of(options: argparse.Namespace) -> list[str]:
    """The files that are read."""
    return [*options.inputs, *options.model, *filter(None, (options.neighbours, options.reference))]


def one_picture(
    store: Store, description: Description, several: bool, options: argparse.Namespace
) -> tuple[Decoded, dict[str, Any]]:
    """Decode a picture and write all that was asked for, or nothing. Names have its id where there are several."""
    output = output_name(store, options, description, several)
    missing, mask = (name and _with_id(name, description, several) for name in (options.missing, options.mask))
    check_outputs([name for name in (output, missing, mask) if name], inputs_of(options))
    began = perf_counter()
    progress = None if options.quiet else progress_bar("neural decoder")
    decoded = decode_picture(
        store, description, enhance=options.enhance, max_pixels=options.max_pixels, progress=progress
    )
    result: dict[str, Any] = {"output": output, **decoded.report, "seconds": round(perf_counter() - began, 4)}
    if options.reference:
        reference = read_picture(options.reference)
        grey = description.colour == Colour.GREY
        try:
            result["psnr"] = round(psnr(reference, decoded.image, grey), 3)
            result["ssim"] = round(ssim(reference, decoded.image, grey), 4)
        except InputError as e:
            raise InputError(f"{options.reference}: {e}") from None
    text = {
        "Software": "onboard-compress",
        "onboard:decoder": str(decoded.report["decoder"]),
        "onboard:received": f"{decoded.report['received']:.4f}",
        "onboard:picture": name_of(description),
    }
    text |= {f"onboard:{k}": str(v) for k, v in decoded.report["extensions"].items()}
    files = [(output, encode_picture(output, decoded.image, text))]
    if missing:
        wanted = decoded.missing.pack(options.missing_limit)
        result["missing"], result["missing_bytes"] = map_text(wanted), len(wanted)
        form = {".hex": wanted.hex(), ".b64": result["missing"]}.get(Path(missing).suffix)
        files.append((missing, wanted if form is None else f"{form}\n".encode()))
    if mask:
        files.append((mask, png_bytes(decoded.mask, text, MASK_COLOURS)))
    for name, data in files:
        write_bytes(name, data)
    return decoded, result


def name_of(description: Description) -> str:
    """A picture's id and the tag of its encoding."""
    return f"{description.picture_id}/{description.tag:04x}"


def output_name(store: Store, options: argparse.Namespace, description: Description, several: bool) -> str:
    """Where a picture goes: by default named after the file that brought the first of it."""
    if options.output == STDIO:
        return STDIO
    origin = store.origins[description]
    if origin not in options.inputs:  # it was listened to
        origin = options.inputs[0]
    source = "picture" if origin == STDIO else Path(origin).name.removesuffix(".obp")
    name = Path(source).stem + ".png" if Path(source).suffix else source + ".png"
    if options.output is None:
        folder = Path() if origin == STDIO else Path(origin).parent
        path = folder / f"{Path(name).stem}.preview.png"
    elif Path(options.output).is_dir() or options.output.endswith("/"):
        path = Path(options.output) / name
    else:
        path = Path(options.output)
    return _with_id(str(path), description, several)


def _with_id(path: str, description: Description, several: bool) -> str:
    """A name of a picture's own, where there are several and it is one of a file."""
    if not several or path == STDIO or is_special(path):
        return path
    p = Path(path)
    return str(p.with_name(f"{p.stem}-{description.picture_id}-{description.tag:04x}{p.suffix}"))


def summary(r: dict[str, Any]) -> str:
    packets = r["packets"]["used"]
    text = (
        f"{r['output']}: {r['width']}x{r['height']} {r['colour']}, {100 * r['received']:.1f} % of layers "
        f"{in_words(r['received_of_layers'])} received in {packets} packet{'s'[: packets != 1]}, {layers(r)}"
        f"{r['decoder']} decoder ({r['why']}), {1000 * r['seconds']:.0f} ms"
    )
    if "missing" in r:
        text += f", missing map of {r['missing_bytes']} bytes"
    return text + (f", PSNR {r['psnr']:.2f} dB, SSIM {r['ssim']:.4f}" if "psnr" in r else "")


def in_words(numbers: list[int]) -> str:
    """ "0 and 1", "0, 1 and 2"."""
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"


def layers(r: dict[str, Any]) -> str:
    """How much of the picture the layers above the preview have reached, and what of them is of no use yet."""
    if "layers" not in r:
        return ""
    blocks = {int(level): many for level, many in r["layers"]["blocks_by_mask"].items()}
    share = {level: f"{100 * many / sum(blocks.values()):.1f} %" for level, many in blocks.items()}
    text = "".join(
        f"{share[level]} {'lossless' if level == LOSSLESS else f'in layer {level - 1}'}, "
        for level in sorted(blocks)
        if level > FIRST_REFINEMENT
    )
    waiting = r["layers"]["unused_sections"]
    return text + (f"{waiting} section{'s'[: waiting > 1]} without what they refer to, " if waiting else "")


if __name__ == "__main__":
    sys.exit(main())
