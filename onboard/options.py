"""Command-line pieces that the commands share: sizes, messages, JSON, exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, NoReturn

from onboard.errors import InputError, OnboardError

VERSION = "0.1.0"

OK, PARTIAL, UNUSABLE = 0, 1, 2
BAR = 30  # characters of a progress bar
INTERRUPTED = 130
# Options of `onboard-compress` that say how a preview is coded, beside its size.
OF_A_PREVIEW = (
    "scale",
    "interleave",
    "stream",
    "tag",
    "image_id",
    "gray",
    "window",
    "curve",
    "no_data",
    "all_data",
    "parity",
    "expect_loss",
    "order",
    "seconds",
)
_UNITS = {"": 1, "k": 1000, "kb": 1000, "kib": 1024, "m": 10**6, "mb": 10**6, "mib": 1 << 20, "b": 1}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the list of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {message}; --help lists the options\n")


def named(text: str) -> str:
    """A text that must not be empty, as it is when a shell's variable has not been set."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def seconds(text: str) -> float:
    """A time that can pass."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return found


def byte_size(text: str) -> int:
    """ "1500", "2k", "2kB", "2KiB", "1.5kB" to bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2].lower() not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give bytes, or a number with k, kB or KiB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def add_talk(parser: argparse.ArgumentParser) -> None:
    """Options that every command has."""
    parser.add_argument("--json", action="store_true", help="print machine-readable results on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")


def refuse(options: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Raise InputError for an option that was given where it would have no effect.

    Args:
        options: as run() makes them.
        names: attributes of the options.
        why: what the line says behind the option.
    """
    for name in names:
        if getattr(options, name) != options.default(name):
            raise InputError(f"--{name.replace('_', '-')} {why}")


def say(text: str) -> None:
    print(text, file=sys.stderr)


def progress_bar(what: str) -> Callable[[int, int], None] | None:
    """A bar to be called with (done, total), drawn on standard error; None where that is no terminal."""
    if not sys.stderr.isatty():
        return None

    def draw(done: int, total: int) -> None:
        full = BAR * done // total
        end = "\n" if done == total else ""
        print(f"\r{what:24s} [{'#' * full}{'.' * (BAR - full)}] {done}/{total}", end=end, file=sys.stderr, flush=True)

    return draw


def print_json(value: Any) -> None:
    """Print a report; numbers that JSON has not, such as the PSNR of an exact picture, as null."""
    print(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def run(command: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Parse and run; every error on purpose becomes one line and exit status 2, never a traceback.

    Args:
        argv: None for the arguments of the process, which then does nothing but this.
    """
    if argv is None:
        gc.freeze()  # what was imported stays: to look through it for garbage takes as long as a picture
    options = parser.parse_args(argv, argparse.Namespace(default=parser.get_default))
    try:
        status = command(options)
        if sys.stdout is not None:  # it is, where a daemon runs
            sys.stdout.flush()
        return status
    except OnboardError as e:
        say(f"{parser.prog}: {e}")
        return UNUSABLE
    except BrokenPipeError:
        _drop_output()
        return UNUSABLE
    except OSError as e:  # of files it is told where they are opened
        _drop_output()
        say(f"{parser.prog}: {e.filename or 'standard output'}: {e.strerror or e}")
        return UNUSABLE
    except MemoryError:
        say(f"{parser.prog}: not enough memory for a picture of this size")
        return UNUSABLE
    except KeyboardInterrupt:
        say(f"{parser.prog}: interrupted")
        return INTERRUPTED


def _drop_output() -> None:
    """Let what waits to be written to standard output go nowhere, or Python would try again when it ends."""
    with contextlib.suppress(AttributeError, OSError):  # there is none; a test's has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
