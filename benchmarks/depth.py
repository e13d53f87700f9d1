"""How deep should a neural decoder be? Nets of 3, 5, 7 and 10 layers with equally many parameters, trained alike.

    python -m benchmarks.depth --images DIR... [--steps N]

Needs the extra `train`. Tells the gain in PSNR over the plain decoder on the validation share of the pictures (which no
net was trained on), without and with a fifth of the packets lost, and the time of a pass. Writes OUT.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import RESULTS, BenchmarkError, run
from benchmarks.rd import table
from onboard.ground.features import LAYOUTS

LAYOUT = LAYOUTS["luma"]
LAYERS = (3, 5, 7, 10)
PARAMETERS = 500_000
SIDE = 128  # cells a side of the timed pass


def width_for(layers: int, parameters: int) -> int:
    """Channels with which a luma net of so many layers has about so many parameters."""
    inputs, outputs = LAYOUT.channels, LAYOUT.cell**2
    a, b, c = 9 * (layers - 2), 9 * (inputs + outputs), 9 * inputs * outputs - parameters
    return round((-b + (b * b - 4 * a * c) ** 0.5) / (2 * a))


def main(arguments: list[str]) -> None:
    """Ablation of the depth of the neural decoder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.depth", description=main.__doc__)
    parser.add_argument("--images", nargs="+", type=Path, required=True, metavar="DIR", help="training pictures")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "depth.md", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        import torch
    except ImportError as error:
        raise BenchmarkError("PyTorch is not installed: pip install -e '.[train]'") from error
    from onboard.model import default_model
    from training.enhance import Plan, Run, apply, check
    from training.examples import PARTS, pictures_of, validation
    from training.nets import Shape
    from training.pictures import find, readable
    from training.pool import Pool

    model, part = default_model(), PARTS["luma"]
    pictures, unseen = pictures_of(readable(find(options.images)), part)
    checks = validation(unseen, model, part)
    rows, task = [], {"part": "luma", "loss": "mse"}
    for layers in LAYERS:
        shape = Shape(LAYOUT.channels, part.outputs, width_for(layers, PARAMETERS), layers)
        trained = Run(shape, Plan(options.steps, options.crops, 1, options.threads), task)
        with Pool(pictures, model, part, 1) as pool:
            while trained.step < options.steps:
                trained.learn(pool.batch(options.crops))
        gain = check(trained, checks)
        seen = np.zeros((SIDE, SIDE, LAYOUT.channels), np.float32)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            apply(trained.net, seen, trained.processor)
            times.append(time.perf_counter() - began)
        parameters = sum(p.numel() for p in trained.net.parameters())
        rate = (SIDE * LAYOUT.cell) ** 2 / min(times) / 1e6
        cells = (gain["whole_db"], gain["whole_ssim"], gain["lossy_db"])
        rows.append([str(layers), str(shape.width), f"{parameters}", *(f"{c:+.3f}" for c in cells), f"{rate:.1f}"])
        print(f"{layers} layers: {gain}", file=sys.stderr, flush=True)
    head = ["layers", "width", "parameters", "PSNR, dB", "SSIM", "with loss, dB", "MP/s"]
    about = (
        f"Gain over the plain decoder on {len(checks)} unseen examples after {options.steps} steps of {options.crops} "
        f"crops; the speed is PyTorch {torch.__version__}'s with {options.threads} thread(s), on {trained.processor}."
    )
    text = f"# Depth at equal parameters\n\n{about}\n\n{table(head, rows)}\n"
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
