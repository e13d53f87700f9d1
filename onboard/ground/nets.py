"""The files of the neural decoders, and LiteRT, which runs them."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from onboard.errors import InputError, ModelError
from onboard.ground.features import LAYOUTS

NETS = ("small", "large", "perceptual")  # what another net has no part for, it leaves to the small one
MIRRORED = {"large": "small"}  # the mean over four mirror images, in four times the time, of what another net makes
GUIDE = NETS[0], "luma"  # net and part by whose pictures chroma goes; what is trained when nothing else is asked for
ARTEFACT = "{net}-{part}-{model}-r{radius}.tflite"  # the radius is that of the net's view, in blocks
_NAMED = re.compile(r"([a-z]+)-([a-z]+)-([0-9a-f]{4})-r(\d+)\.tflite")

_LOCK = threading.Lock()  # nets are kept, and LiteRT's interpreters serve one thread
_ANNOUNCED = threading.Event()  # LiteRT has said how it runs, which it says once


@dataclass(eq=False)
class Net:
    """A net ready to run.

    Attributes:
        interpreter: LiteRT's; float32 (1, rows, columns, inputs) to float32 (1, rows, columns, outputs), the levels
            that the plain reconstruction lacks.
        radius: blocks around a block that its pixels depend on.
    """

    interpreter: Any
    radius: int
    _shape: tuple[int, ...] = ()  # that memory has been allocated for

    def run(self, seen: np.ndarray) -> np.ndarray:
        """float32 (rows, columns, outputs) of features float32 (rows, columns, inputs). One thread at a time."""
        with _LOCK:
            (given,), (made,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
            if self._shape != seen.shape:
                self._shape = ()
                with _hushed():
                    self.interpreter.resize_tensor_input(given["index"], [1, *seen.shape])
                    self.interpreter.allocate_tensors()
                self._shape = seen.shape
            self.interpreter.set_tensor(given["index"], np.ascontiguousarray(seen[None]))
            self.interpreter.invoke()
            return np.asarray(self.interpreter.get_tensor(made["index"])[0])


def stand_ins(name: str) -> list[str]:
    """A net, and what stands in for it where it has no part."""
    return list(dict.fromkeys((name, NETS[0])))


def unavailable(name: str, part: str, model_id: int, folder: Path | None = None) -> str | None:
    """Why a net cannot make a luma_part(), in words; None when it can. See net_file()."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return "LiteRT is not installed: pip install 'onboard-compress[ground]'"
    if net_file(name, part, model_id, folder) is None:
        what = part if part == "luma" else f"{part} luma"
        return f"no {name} net of {what} for model {model_id:04x}"
    return None


def digest(name: str, part: str, model_id: int, folder: Path | None = None) -> str:
    """Which file a part of a net is, and its contents: "NAME CRC-32"; empty when there is none."""
    found = net_file(name, part, model_id, folder)
    return f"{found[0].name} {crc32(found[0].read_bytes()):08x}" if found else ""


def net_file(name: str, part: str, model_id: int, folder: Path | None = None) -> tuple[Any, int] | None:
    """File and radius of a part of a net, out of a folder or else of the shipped ones. Raises InputError."""
    wanted = MIRRORED.get(name, name), part, f"{model_id:04x}"
    check_folder(folder)
    for place in (folder, files("onboard.ground") / "models"):
        for entry in place.iterdir() if place is not None else ():
            found = named(entry.name)
            if found is not None and found[:3] == wanted:
                return entry, found[3]
    return None


def check_folder(folder: Path | None) -> None:
    """Raise InputError for a folder of nets that is none."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: not a folder of nets")


def named(artefact: str) -> tuple[str, str, str, int] | None:
    """Net, part, model and radius that the name of a file tells; None when it is not that of a net."""
    found = _NAMED.fullmatch(artefact)
    return (found[1], found[2], found[3], int(found[4])) if found else None


@lru_cache(maxsize=2 * len(LAYOUTS))
def load_net(name: str, part: str, model_id: int, folder: Path | None = None) -> Net:
    """A part of a net, see net_file(), ready to run. Raises ModelError."""
    from ai_edge_litert.interpreter import Interpreter

    found = net_file(name, part, model_id, folder)
    if found is None:
        raise ModelError(f"no {name} net of {part} for model {model_id:04x}: onboard-train enhance makes one")
    path, radius = found
    try:
        net = Net(Interpreter(model_content=path.read_bytes(), num_threads=cores()), radius)
    except (OSError, ValueError, RuntimeError) as e:
        raise ModelError(f"{path}: not a LiteRT file ({' '.join(str(e).split())})") from None
    inputs, expected = int(net.interpreter.get_input_details()[0]["shape"][-1]), LAYOUTS[part].channels
    if inputs != expected:
        raise ModelError(f"{path}: has {inputs} inputs where a net of {part} has {expected}")
    return net


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _hushed() -> Iterator[None]:
    """No standard error, of any thread, while LiteRT first takes memory: it announces there how it will run, once in a
    process, and has no switch for that."""
    if _ANNOUNCED.is_set():
        yield
        return
    _ANNOUNCED.set()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
