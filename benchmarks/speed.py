"""Speed against Pillow's JPEG (libjpeg-turbo), in one run, one thread: `python -m benchmarks.speed [--data DIR]`.

Ours and the peer take turns (A B A B ...) so that a drifting machine touches both; the ratio is taken pair by pair and
its median quoted. Times are those of the processor, which other programs disturb less than the clock.
Pictures are in memory, results are bytes or arrays in memory.
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
from time import process_time

import numpy as np
from PIL import Image

from benchmarks import RESULTS, BenchmarkError, codec, one_thread, run
from benchmarks.pictures import add_data_option, data_folder, read

PAIRS = 9
COLD_PAIRS = 7
BPP = 0.1
# Kernels are loaded on a small picture first; then the kernel forgets the process's highest resident size (Linux).
_MEMORY = """
import ctypes, sys
from pathlib import Path
import numpy as np
import onboard
def status(field):
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field)).split()[1])
picture = np.load(sys.argv[1])
onboard.compress(np.ascontiguousarray(picture[:512, :512]), **eval(sys.argv[2]))
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
onboard.compress(picture, **eval(sys.argv[2]))
print((status("VmHWM") - before) / 1024)
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
        began = process_time()
        ours()
        middle = process_time()
        peer()
        times.append((middle - began, process_time() - middle))
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
    """MiB by which the process grows beyond the picture and the loaded kernels while it encodes: its peak."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.npy"
        np.save(path, grey)
        for options in ("{'quality': 64}", "{'bpp': 0.1}", "{'bpp': 0.1, 'packet_size': 200}"):
            argv = [sys.executable, "-c", _MEMORY, str(path), options]
            found[options] = float(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)
    return found


def processor_seconds(argv: list[str], environment: dict[str, str] | None = None) -> float:
    """User and system time of a whole process, which other programs disturb less than the time on the clock.

    Python keeps bytecode, as it does of an installed package.
    """
    own = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(argv, env={**own, **(environment or {})})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise BenchmarkError(f"{' '.join(argv)}: failed")
    return usage.ru_utime + usage.ru_stime


def cold_start(rgb: np.ndarray) -> dict[str, float]:
    """Processor seconds of a whole preview of 2 MP, of `import numba`, of loading the picture, and of the first run."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "two.jpg")
        Image.fromarray(rgb[:1250, :1600]).save(path, quality=90)
        preview = [sys.executable, "-m", "onboard.cli", "--preview", "-q", path, "-o", path + ".obp"]
        numba = [sys.executable, "-c", "import numba"]
        loading = [numba[0], "-c", f"{numba[2]}, numpy; from PIL import Image; numpy.asarray(Image.open({path!r}))"]
        processor_seconds(preview)
        times = [[processor_seconds(argv) for argv in (preview, numba, loading)] for _ in range(COLD_PAIRS)]
        first = processor_seconds(preview, {"NUMBA_CACHE_DIR": str(Path(folder) / "cache")})
    whole, base, load = (statistics.median(column) for column in zip(*times, strict=True))
    load -= base
    return {
        "preview": whole,
        "import numba": base,
        "load": load,
        "ratio": (whole - load) / base,
        "first run": first,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_data_option(parser)
    options = parser.parse_args(arguments)
    folder = data_folder(options.data) / "big"
    grey, rgb = read(folder / "caliterra_gray_4000x3000.png"), read(folder / "caliterra_rgb_4000x3000.webp")
    lines = [
        "| what, 12 MP, one thread, processor time | ours ms | peer ms | peer / ours |",
        "| --- | ---: | ---: | ---: |",
    ]
    rows = kernels(grey, rgb)
    lines += [f"| {what} | {ours:.1f} | {peer:.1f} | {ratio:.2f} |" for what, ours, peer, ratio in rows]
    extra = memory(grey)
    lines += [
        "",
        "Peak memory of encoding beyond the picture, MiB (highest resident size, kernels loaded before):",
    ]
    lines += [f"- `{k}`: {v:.1f}" for k, v in extra.items()]
    cold = cold_start(rgb)
    lines += [
        "",
        f"Cold start, 2 MP, processor seconds of whole processes: preview with a warm cache {cold['preview']:.2f}, "
        f"`import numba` {cold['import numba']:.2f}, loading the picture (Pillow) {cold['load']:.2f}: the rest is "
        f"{cold['ratio']:.2f} times `import numba`. The very first run, which compiles: {cold['first run']:.0f}.",
    ]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.md").write_text("# Speed\n\n" + "\n".join(lines) + "\n")
    facts = {"rows": rows, "memory": extra, "cold_start": cold}
    (RESULTS / "speed.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    one_thread()
    sys.exit(run(main, sys.argv[1:]))
