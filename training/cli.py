"""`onboard-train`: pictures to a model file and all that follows from it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

# The products here are small: threads of the linear algebra library would cost far more than they gain.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from onboard.errors import InputError
from onboard.ground.features import LAYOUTS
from onboard.ground.nets import GUIDE, MIRRORED, NETS, cores
from onboard.image_io import STDIO, check_outputs, write_bytes
from onboard.model import Model, default_model, load_model
from onboard.options import OK, Parser, add_talk, print_json, run, say


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="onboard-train", description="Train models on your own pictures.")
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="fit a model; writes MODEL, a .json report and a .png of its units beside it")
    fit.add_argument("--images", nargs="+", type=Path, required=True, metavar="DIR", help="folders of pictures")
    fit.add_argument(
        "--out", type=Path, required=True, metavar="MODEL", help="file such as my.obm, or a folder for ID.obm"
    )
    add_talk(fit)
    near = commands.add_parser("neighbours", help="fit the ground's neighbour-aware matrices to a model")
    near.add_argument("--images", nargs="+", type=Path, required=True, metavar="DIR", help="folders of pictures")
    near.add_argument("--model", metavar="FILE", help="the model; the shipped one by default")
    near.add_argument("--out", required=True, metavar="PATH", help="file, or folder for its usual name")
    add_talk(near)
    layers = commands.add_parser("layers", help="make the code tables of the higher layers, which belong to the format")
    layers.add_argument("--images", nargs="+", type=Path, required=True, metavar="DIR", help="folders of pictures")
    layers.add_argument("--out", required=True, metavar="FILE", help="file to write")
    add_talk(layers)
    export = commands.add_parser("export-c", help="write a model as a C header for the microcontroller's encoder")
    export.add_argument("model", nargs="?", metavar="MODEL", help="the model; the shipped one by default")
    export.add_argument(
        "-o", "--out", required=True, metavar="HEADER", help='header to write, such as obc_model.h; or "-"'
    )
    add_talk(export)
    enhance = commands.add_parser("enhance", help="train a neural decoder of the ground; goes on where OUT stands")
    enhance.add_argument("--images", nargs="+", type=Path, required=True, metavar="DIR", help="folders of pictures")
    enhance.add_argument("--model", metavar="FILE", help="the model it decodes; the shipped one by default")
    enhance.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT", help="file such as small-luma.pt")
    trained = [name for name in NETS if name not in MIRRORED]
    net, part = GUIDE
    enhance.add_argument("--net", choices=trained, default=net, help=f"which net (default {net})")
    enhance.add_argument("--part", choices=tuple(LAYOUTS), default=part, help=f"which of its parts (default {part})")
    enhance.add_argument("--start", nargs="+", type=Path, default=[], metavar="NET", help="begin as the mean of these")
    enhance.add_argument("--steps", type=int, default=20000, metavar="N", help="batches (default 20000)")
    enhance.add_argument("--crops", type=int, default=20, metavar="N", help="crops of a batch (default 20)")
    enhance.add_argument("--rate", type=float, metavar="R", help="learning rate; less than usual is good after --start")
    enhance.add_argument("--seed", type=int, default=1, metavar="N")
    enhance.add_argument(
        "--threads",
        type=int,
        default=cores(),
        metavar="N",
        help="of the learning itself; default: all cores",
    )
    enhance.add_argument("--nets", type=Path, metavar="DIR", help="where to look for the luma net that chroma goes by")
    where = "default: auto, the GPU where PyTorch finds one"
    enhance.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=where)
    add_talk(enhance)
    nets = commands.add_parser("export-nets", help="write trained parts of a net as LiteRT files")
    nets.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="of `onboard-train enhance`")
    nets.add_argument("--mean", action="store_true", help="one net: the mean of the checkpoints' weights")
    carry = "model files: what was trained for OLD is for NEW, which has other code tables and nothing else"
    nets.add_argument("--carry", nargs=2, metavar=("OLD", "NEW"), help=carry)
    nets.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    nets.add_argument("--float32", action="store_true", help="weights of 32 bits, not of 16")
    add_talk(nets)
    units = commands.add_parser("export-tflite", help="write G1 and G2 as int8 LiteRT files, for an accelerator")
    units.add_argument("model", nargs="?", metavar="MODEL", help="the model; the shipped one by default")
    units.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    units.add_argument("--activations", type=int, choices=(8, 16), default=16, help="bits of input and output")
    add_talk(units)
    paper = commands.add_parser("paper", help="reproduce the MSE of Taha et al. 2025 by the paper's protocol")
    paper.add_argument("--images", type=Path, required=True, metavar="DIR", help="the Waterloo pictures")
    add_talk(paper)
    return parser


def main(argv: list[str] | None = None) -> int:
    return run(command, build_parser(), argv)


def command(options: argparse.Namespace) -> int:
    images = getattr(options, "images", [])
    for folder in images if isinstance(images, list) else [images]:
        if not folder.is_dir():
            raise InputError(f"{folder}: not a folder of pictures")
    commands = {
        "fit": fit_command,
        "neighbours": neighbours_command,
        "export-c": export_command,
        "layers": layers_command,
        "enhance": enhance_command,
        "export-nets": export_nets_command,
        "export-tflite": export_units_command,
        "paper": paper_command,
    }
    return commands[options.command](options)


def fit_command(options: argparse.Namespace) -> int:
    from training.fit import fit, outputs, write
    from training.pictures import VALIDATION_EVERY, find

    def named(model_id: int) -> Path:
        return options.out / f"{model_id:04x}.obm" if options.out.is_dir() else options.out

    _no_pipe(options.out)
    _check_outputs(outputs(named(0)), [] if options.out.is_dir() else find(options.images))
    result = fit(options.images)
    out = named(result.model.model_id)
    write(result, out)
    if options.json:
        print_json(result.report)
    elif not options.quiet:
        r = result.report
        say(f"{out}: model {r['model_id']}, {r['model_bytes']} bytes, from {r['pictures']['train']} pictures")
        if not r["pictures"]["validation"]:
            say(f"fewer than {VALIDATION_EVERY} pictures: none is kept to tell how the model does on unseen ones")
    return OK


def neighbours_command(options: argparse.Namespace) -> int:
    from onboard.ground.linear import ARTEFACT, pack_neighbours
    from training.neighbours import fit_neighbours

    model = _model(options.model)
    out = Path(options.out) / ARTEFACT.format(model.model_id) if Path(options.out).is_dir() else Path(options.out)
    _check_outputs([out], [options.model])
    data = pack_neighbours(fit_neighbours(options.images, model))
    write_bytes(str(out), data)
    if options.json:
        print_json({"output": str(out), "bytes": len(data), "model": f"{model.model_id:04x}"})
    elif not options.quiet:
        say(f"{out}: {len(data)} bytes for model {model.model_id:04x}")
    return OK


def layers_command(options: argparse.Namespace) -> int:
    from training.layers import fit_tables

    _check_outputs([options.out])
    data = fit_tables(options.images)
    write_bytes(options.out, data)
    if options.json:
        print_json({"output": options.out, "bytes": len(data)})
    elif not options.quiet:
        say(f"{options.out}: {len(data)} bytes of format tables")
    return OK


def export_command(options: argparse.Namespace) -> int:
    from training.export_c import header

    _check_outputs([options.out], [options.model])
    model = _model(options.model)
    write_bytes(options.out, header(model).encode())
    if options.json and options.out != STDIO:
        print_json({"output": options.out, "model": f"{model.model_id:04x}"})
    elif not options.quiet:
        say(f"{options.out}: model {model.model_id:04x}")
    return OK


def enhance_command(options: argparse.Namespace) -> int:
    _need("torch")
    from training.enhance import HYBRID, Plan, train_part
    from training.losses import PACKAGES

    for package in PACKAGES if options.net in HYBRID else ():
        _need(package)
    if options.nets is not None and options.part != "chroma":
        raise InputError("--nets goes with --part chroma")
    plan = Plan(options.steps, options.crops, options.seed, options.threads, options.rate, options.device)
    _no_pipe(options.out)
    _check_outputs([options.out], [options.model, *options.start])
    model = _model(options.model)
    net, part, out = options.net, options.part, options.out
    tell = (lambda _: None) if options.quiet else say
    report = train_part(options.images, model, net, part, plan, out, options.start, tell, options.nets)
    if options.json:
        print_json(report)
    elif report["curve"] and not options.quiet:
        last = report["curve"][-1]
        gain = last["layered_db" if "layered_db" in last else "whole_db"]
        say(f"{options.out}: {gain:+.2f} dB by the net, {last['lossy_db']:+.2f} dB with loss")
    return OK


def export_nets_command(options: argparse.Namespace) -> int:
    _need("litert_torch")
    _need("ai_edge_quantizer")
    from training.checkpoints import carried, load, mean_of, report_of
    from training.export_tflite import export_net, net_name, superseded

    states = [load(path) for path in options.checkpoints]
    if options.carry:
        old, new = map(load_model, options.carry)
        states = [carried(state, old, new) for state in states]
    states = [mean_of(states)] if options.mean else states
    outs = [options.out / net_name(state) for state in states]
    _check_outputs([*outs, *(out.with_suffix(".json") for out in outs)], options.checkpoints)
    results = []
    for state, out in zip(states, outs, strict=True):
        data = export_net(state, not options.float32)
        write_bytes(str(out), data)
        for path in superseded(out):
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
        write_bytes(str(out.with_suffix(".json")), (json.dumps(report_of(state), indent=1) + "\n").encode())
        results.append({"output": str(out), "bytes": len(data), "steps": state["step"]})
        if not (options.quiet or options.json):
            say(f"{out}: {len(data)} bytes, {state['step']} steps")
    if options.json:
        print_json(results)
    return OK


def export_units_command(options: argparse.Namespace) -> int:
    _need("litert_torch")
    _need("ai_edge_quantizer")
    from training.export_tflite import export_units

    model = _model(options.model)
    outs = {group: options.out / f"{model.model_id:04x}-g{group}.tflite" for group in (1, 2)}
    _check_outputs(list(outs.values()))
    results = []
    for group, out in outs.items():
        data = export_units(model, group, options.activations)
        write_bytes(str(out), data)
        results.append({"output": str(out), "bytes": len(data), "group": group})
        if not (options.quiet or options.json):
            say(f"{out}: G{group} of model {model.model_id:04x}")
    if options.json:
        print_json(results)
    return OK


def _no_pipe(out: Path) -> None:
    """Raise InputError for standard output where several files are written, or one that is read again."""
    if str(out) == STDIO:
        raise InputError("--out -: give the name of a file")


def _check_outputs(outputs: Iterable[Path | str], inputs: Iterable[Path | str | None] = ()) -> None:
    """Before all work: raise InputError where outputs cannot go."""
    check_outputs([str(path) for path in outputs], [str(path) for path in inputs if path is not None])


def _model(path: str | None) -> Model:
    return load_model(path) if path else default_model()


def _need(package: str) -> None:
    """Raise InputError when the extra for training nets is missing."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{package} is not installed: pip install 'onboard-compress[train]'")


def paper_command(options: argparse.Namespace) -> int:
    from training.paper import reproduce

    rows = reproduce(options.images)
    if options.json:
        print_json(rows)
    else:
        print(f"{'picture':10s} {'latents':>7s} {'paper':>8s} {'reproduced':>11s} {'shipped model':>14s}")
        for r in rows:
            errors = f"{r['paper']:8.2f} {r['reproduced']:11.2f} {r['shipped_model']:14.2f}"
            print(f"{r['picture']:10s} {r['latents']:7d} {errors}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
