"""Building the C encoder: compilers, options, and what to install when one is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from onboard.errors import InputError

SOURCES = Path(__file__).parent / "c"
ENCODER = tuple(
    f"obc{part}.c" for part in ("", "_analyse", "_camera", "_first", "_packet", "_parity", "_rate", "_rest", "_step")
)
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic")
STRICT = (*WARNINGS, "-Werror")  # where the compiler is known: another one, or a newer, warns of other things
TOOLS = "make firmware-tools"


@dataclass(frozen=True)
class Limits:
    """What an encoder keeps memory for: the OBC_MAX_* of obc.h."""

    width: int = 640
    packet: int = 256
    colour: bool = False
    scale_log2: int = 0
    interleave_log2: int = 0
    parity: int = 0

    def defines(self) -> list[str]:
        return [
            f"-DOBC_MAX_WIDTH={self.width}",
            f"-DOBC_MAX_PACKET={self.packet}",
            f"-DOBC_COLOUR={int(self.colour)}",
            f"-DOBC_MAX_SCALE_LOG2={self.scale_log2}",
            f"-DOBC_MAX_INTERLEAVE_LOG2={self.interleave_log2}",
            f"-DOBC_MAX_PARITY={self.parity}",
        ]


ROOMY = Limits(2048, 65535, True, 2, 2, 16)


def host_compiler() -> str:
    """The C compiler of this machine. Raises InputError."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise InputError("no C compiler: install gcc or clang, or set CC")


def tool(name: str) -> str:
    """Path of a cross tool. Raises InputError, which says how to install it."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed: {TOOLS}")
    return found


def write_model(folder: Path) -> None:
    """obc_model.h of the shipped model, by the command that makes it."""
    path = folder / "obc_model.h"
    run([sys.executable, "-m", "training.cli", "export-c", "-q", "-o", str(path)])


def host_library(folder: Path, limits: Limits = ROOMY, options: tuple[str, ...] = ("-O2",)) -> Path:
    """Build the encoder as a shared library for this machine."""
    write_model(folder)
    out = folder / "libobc.so"
    sources = [str(SOURCES / name) for name in (*ENCODER, "host.c")]
    run(
        [
            host_compiler(),
            *WARNINGS,
            *options,
            *limits.defines(),
            "-fPIC",
            "-shared",
            f"-I{folder}",
            "-o",
            str(out),
            *sources,
        ]
    )
    return out


def run(command: list[str]) -> str:
    """Run a tool and return its output. Raises InputError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise InputError(f"{command[0]} failed with status {done.returncode}: {said}")
    return done.stdout
