"""Speed against Pillow's JPEG (libjpeg-turbo), in one run, one thread: `python -m benchmarks.speed [--data DIR]`.

Ours and the peer take turns (A B A B ...) so that a drifting machine touches both; the ratio is taken pair by pair and
its median quoted. Pictures are in memory, results are bytes or arrays in memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from benchmarks import RESULTS, codec, one_thread, run
from benchmarks.pictures import add_data_option, data_folder, read

PAIRS = 9
BPP = 0.1
_MEMORY = """
import resource, sys
import numpy as np
import onboard
picture = np.load(sys.argv[1])
onboard.compress(np.ascontiguousarray(picture[:256, :256]), **eval(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
onboard.compress(picture, **eval(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def jpeg(image: Image.Image, quality: int, subsampling: int = 2) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **({"subsampling": subsampling} if image.mode == "RGB" else {}))
    return out.getvalue()


def unjpeg(data: bytes) -> None:
    Image.open(io.BytesIO(data)).load()


def pairs(ours: Callable[[], object], peer: Callable[[], object], count: int = PAIRS) -> tuple[float, float, float]:
    """Median milliseconds of both and the median of peer time / our time, so more than 1 means that we are faster."""
    ours()
    peer()
    times = []
    for _ in range(count):
        began = perf_counter()
        ours()
        middle = perf_counter()
        peer()
        times.append((middle - began, perf_counter() - middle))
    ratio = statistics.median(b / a for a, b in times)
    return 1e3 * statistics.median(a for a, _ in times), 1e3 * statistics.median(b for _, b in times), ratio


def kernels(grey: np.ndarray, rgb: np.ndarray) -> list[tuple[str, float, float, float]]:
    """(what, our ms, peer ms, ratio) for encoding and decoding at 0.1 bits per pixel."""
    onboard = codec()
    rows = []
    for name, picture in (("grey", grey), ("RGB", rgb)):
        quality = onboard.describe(onboard.compress(picture, bpp=BPP, scale=1))["quality"]
        image = Image.fromarray(picture)
        data = onboard.compress(picture, quality=quality)
        ours = partial(onboard.compress, picture, quality=quality)
        for q in (5, 20):
            what = f"encode {name}, JPEG quality {q}{' 4:2:0' if name == 'RGB' else ''}"
            rows.append((what, *pairs(ours, partial(jpeg, image, q))))
            for enhance in ("plain", "linear"):
                what = f"decode {name} {enhance}, JPEG quality {q}"
                decode = partial(onboard.decompress, data, enhance=enhance)
                rows.append((what, *pairs(decode, partial(unjpeg, jpeg(image, q)))))
        what = f"encode {name}, search for {BPP} bpp (ratio: known quality / search)"
        rows.append((what, *pairs(partial(onboard.compress, picture, bpp=BPP), ours)))
    return rows


def memory(grey: np.ndarray) -> dict[str, float]:
    """MiB of peak memory that encoding takes beyond the picture."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.npy"
        np.save(path, grey)
        for options in ("{'quality': 64}", "{'bpp': 0.1}", "{'bpp': 0.1, 'packet_size': 200}"):
            argv = [sys.executable, "-c", _MEMORY, str(path), options]
            found[options] = float(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)
    return found


def cold_start(rgb: np.ndarray) -> tuple[float, float, float]:
    """Seconds of a whole preview of 2 MP with a warm cache, of `import numba`, and of loading the picture alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "two.jpg")
        Image.fromarray(rgb[:1250, :1600]).save(path, quality=90)
        preview = [sys.executable, "-m", "onboard.cli", "--preview", "-q", path, "-o", path + ".obp"]
        numba = [sys.executable, "-c", "import numba"]
        begin = perf_counter()
        np.asarray(Image.open(path))
        load = perf_counter() - begin
        both: list[tuple[float, float]] = []
        for _ in range(6):
            t = []
            for argv in (preview, numba):
                begin = perf_counter()
                subprocess.run(argv, check=True, env={**os.environ})
                t.append(perf_counter() - begin)
            both.append((t[0], t[1]))
        return statistics.median(a for a, _ in both[1:]), statistics.median(b for _, b in both[1:]), load


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_data_option(parser)
    options = parser.parse_args(arguments)
    folder = data_folder(options.data) / "big"
    grey, rgb = read(folder / "caliterra_gray_4000x3000.png"), read(folder / "caliterra_rgb_4000x3000.webp")
    lines = ["| what, 12 MP, one thread | ours ms | peer ms | peer / ours |", "| --- | ---: | ---: | ---: |"]
    rows = kernels(grey, rgb)
    lines += [f"| {what} | {ours:.1f} | {peer:.1f} | {ratio:.2f} |" for what, ours, peer, ratio in rows]
    extra = memory(grey)
    lines += ["", "Peak memory of encoding beyond the picture, MiB: "]
    lines += [f"- `{k}`: {v:.1f}" for k, v in extra.items()]
    preview, numba, load = cold_start(rgb)
    lines += [
        "",
        f"Cold start, 2 MP, warm cache: {preview:.2f} s for the whole process; `import numba` {numba:.2f} s, loading "
        f"the picture {load:.2f} s: {(preview - load) / numba:.2f} times `import numba`.",
    ]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.md").write_text("# Speed\n\n" + "\n".join(lines) + "\n")
    facts = {"rows": rows, "memory": extra, "cold_start": [preview, numba, load]}
    (RESULTS / "speed.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    one_thread()
    sys.exit(run(main, sys.argv[1:]))
