"""Rate-distortion and speed of onboard-compress against its peers; results are kept as text in `results/`.

Every program here is run as a module from the repository root, for example `python -m benchmarks.rd`.
Nothing in `onboard` imports this package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / "benchmarks" / ".cache"


class BenchmarkError(Exception):
    """Something the caller can put right; shown as one line, exit status 2."""


def codec() -> ModuleType:
    """The package under test, imported late so that environment settings still count."""
    try:
        import onboard
    except ImportError as error:
        raise BenchmarkError(f"onboard cannot be imported ({error}): run `pip install -e .` first") from error
    return onboard


def one_thread() -> None:
    """Ask every numeric library for one thread; only libraries imported later listen."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def run(program: Callable[[list[str]], None], arguments: list[str]) -> int:
    """Run a program's main; a `BenchmarkError` becomes one line on stderr and exit status 2."""
    try:
        program(arguments)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
