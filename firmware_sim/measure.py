"""What the C encoder takes on emulated microcontrollers: `python -m firmware_sim.measure`.

Builds it with a cross compiler, runs it under an emulator that gives every instruction the same time, compares the
packets with the reference byte for byte, and reports flash, RAM and instructions per pixel.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firmware_sim.build import ENCODER, SOURCES, STRICT, Limits, run, tool, write_model
from firmware_sim.encoder import config_of
from onboard import compress_stream
from onboard.errors import InputError
from onboard.image_io import read_picture, write_bytes
from onboard.options import OK, add_talk, print_json, say
from onboard.options import run as run_command
from onboard.wire import unpack

BOARD = SOURCES / "board"
SECONDS = 300  # for one picture on one core
DEFAULT_BPP = 0.1
PACKET_SIZE = 200
WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Family:
    """Tools and files that cores have in common.

    Attributes:
        prefix: of the compiler's and the binary tools' names. library: how their C library is asked for.
        emulator: the program. start: its options for every board.
        port: name of the files in c/board. extensions: what the port needs that the encoder does not.
    """

    prefix: str
    library: str
    emulator: str
    start: str
    port: str
    extensions: str = ""


@dataclass(frozen=True)
class Core:
    """A core, the board that stands for it, how it is optimised. M0+ code runs on the M3's board: there is no other."""

    name: str
    cpu: str
    board: str
    optimise: str
    family: Family

    @property
    def machine(self) -> list[str]:
        """The compiler's options for this core."""
        return ["-mcpu=" + self.cpu, "-mthumb"] if self.family is ARM else ["-march=" + self.cpu, "-mabi=ilp32"]


ARM = Family("arm-none-eabi-", "--specs=nano.specs", "qemu-system-arm", "", "cortex_m")
RISCV = Family(
    "riscv64-unknown-elf-", "--specs=picolibc.specs", "qemu-system-riscv32", "-bios none", "riscv32", "_zicsr"
)
# Without the first scheduling pass the compiler loads neighbouring words with one instruction; what partial redundancy
# elimination keeps in registers costs more than it saves.
CORES = (
    Core("Cortex-M0+", "cortex-m0plus", "mps2-an385", "-O2", ARM),
    Core("Cortex-M4", "cortex-m4", "mps2-an386", "-O3 -flto -fno-schedule-insns -fno-tree-pre", ARM),
    Core("Cortex-M4, small", "cortex-m4", "mps2-an386", "-O2 -fno-schedule-insns", ARM),
    Core("Cortex-M7", "cortex-m7", "mps2-an500", "-O3 -flto -fno-schedule-insns -fno-tree-pre", ARM),
    Core("RISC-V RV32IMC", "rv32imc", "virt", "-O2", RISCV),
)
PARITY = (40.0, 20.0)  # percent for layer 0 and layer 1,
GROUPS = ((5, 2), (10, 2))  # and what they mean


@dataclass(frozen=True)
class Case:
    """What is measured: limits, interleave, and whether erasure packets are made."""

    name: str
    limits: Limits
    interleave: int = 1
    protected: bool = False


CASES = (
    Case("grey", Limits(WIDTH, PACKET_SIZE)),
    Case("grey, interleave 4", Limits(WIDTH, PACKET_SIZE, interleave_log2=2), 4),
    Case("grey, parity", Limits(WIDTH, PACKET_SIZE, parity=2), protected=True),
    Case("RGB", Limits(WIDTH, PACKET_SIZE, colour=True)),
    Case("RGB, parity", Limits(WIDTH, PACKET_SIZE, colour=True, parity=2), protected=True),
)


def build(core: Core, limits: Limits, folder: Path) -> Path:
    """The encoder and its board as an ELF file."""
    write_model(folder)
    elf = folder / f"{core.cpu}.elf"
    compiler = tool(core.family.prefix + "gcc")
    flags = [*core.machine, *core.optimise.split(), "-ffunction-sections", *limits.defines(), f"-I{folder}"]
    flags += [f"-I{SOURCES}", core.family.library]
    objects = []
    for name in ENCODER:
        objects.append(str(folder / f"{core.cpu}-{name}.o"))
        run([compiler, *flags, *STRICT, "-c", "-o", objects[-1], str(SOURCES / name)])
    # The board's own files talk to the emulator in ways that ISO C does not know.
    port = str(folder / f"{core.cpu}-port.o")
    own = [flag + core.family.extensions if flag.startswith("-march") else flag for flag in flags]
    run([compiler, *own, "-c", "-o", port, str(BOARD / f"{core.family.port}.c")])
    link = ["-nostartfiles", "-Wl,--gc-sections", "-T", str(BOARD / f"{core.family.port}.ld")]
    run([compiler, *flags, *link, "-o", str(elf), str(BOARD / "main.c"), port, *objects])
    return elf


def emulate(core: Core, elf: Path, data: bytes, folder: Path) -> tuple[bytes, dict[str, int]]:
    """Run a program on a picture; return its packets and its report."""
    (folder / "input.bin").write_bytes(data)
    (folder / "output.bin").unlink(missing_ok=True)
    command = [tool(core.family.emulator), "-M", core.board, *core.family.start.split(), "-kernel", str(elf)]
    command += ["-display", "none", "-serial", "null"]
    command += ["-monitor", "none", "-semihosting-config", "enable=on,target=native", "-icount", "shift=6"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    report = {line.split()[0]: int(line.split()[1]) for line in (done.stdout + done.stderr).splitlines() if line}
    if "coding" not in report:
        raise InputError(f"{core.name}: the emulated program stopped without a report (status {done.returncode})")
    return (folder / "output.bin").read_bytes(), report


def flash_of(core: Core, elf: Path) -> int:
    """Bytes of code, constants and initialised data."""
    table = run([tool(core.family.prefix + "size"), "-A", str(elf)])
    sizes = {line.split()[0]: int(line.split()[1]) for line in table.splitlines() if line.startswith(".")}
    return sizes[".text"] + sizes.get(".data", 0)


def reference(case: Case, picture: np.ndarray) -> list[bytes]:
    """The packets that Python makes."""
    found = compress_stream(
        picture,
        budget=quota_of(picture),
        packet_size=PACKET_SIZE,
        interleave=case.interleave,  # type: ignore[arg-type]
        parity=PARITY if case.protected else (0, 0),
    )
    return list(found)


def quota_of(picture: np.ndarray) -> int:
    return int(DEFAULT_BPP * picture.shape[0] * picture.shape[1] / 8)


def measure(core: Core, case: Case, picture: np.ndarray, packets: list[bytes], folder: Path) -> dict[str, Any]:
    """One row of the table. Raises InputError when the packets are not the given ones."""
    quota = quota_of(picture)
    groups = GROUPS if case.protected else ((0, 0), (0, 0))
    config = config_of(unpack(packets[0])[0].description, PACKET_SIZE, quota=quota, groups=groups)
    elf = build(core, case.limits, folder)
    made, report = emulate(core, elf, bytes(config) + picture.tobytes(), folder)
    if made != b"".join(packets):
        raise InputError(f"{core.name}, {case.name}: the packets are not those of the reference")
    pixels = picture.shape[0] * picture.shape[1]
    return {
        "core": core.name,
        "size": f"{picture.shape[1]}x{picture.shape[0]}",
        "configuration": case.name,
        "optimise": core.optimise,
        "limits": asdict(case.limits),
        "quota": quota,
        "bytes": len(made),
        "flash": flash_of(core, elf),
        "ram": report["encoder"] + report["stack"],
        "encoder": report["encoder"],
        "stack": report["stack"],
        "analysis_per_pixel": round(report["analysis"] / pixels, 2),
        "coding_per_pixel": round(report["coding"] / pixels, 2),
        "instructions_per_pixel": round((report["analysis"] + report["coding"]) / pixels, 2),
    }


def scene() -> np.ndarray:
    """An RGB picture with sky, hills and grass, so that the measurement needs no files."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ridge = 170 + 40 * np.sin(x / 90.0) + 14 * np.sin(x / 17.0)
    ground = 90 + 25 * np.sin(x / 11.0 + y / 23.0) + rng.normal(0, 14, (HEIGHT, WIDTH)) * (y > ridge)
    grey = np.where(y < ridge, 215 - y / 6, ground * (0.6 + y / (2.0 * HEIGHT)))
    tint = np.array([1.0, 0.95, 0.8])
    return np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firmware_sim.measure", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--picture", metavar="FILE", help=f"colour picture of at least {WIDTH}x{HEIGHT}; made up without"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the results as JSON too")
    add_talk(parser)
    return parser


def command(options: argparse.Namespace) -> int:
    picture = read_picture(options.picture) if options.picture else scene()
    if picture.dtype != np.uint8 or picture.shape[0] < HEIGHT or picture.shape[1] < WIDTH:
        raise InputError(f"a picture of 8 bits and at least {WIDTH}x{HEIGHT} is needed")
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, -1)
    colour = np.ascontiguousarray(picture[:HEIGHT, :WIDTH])
    grey = np.ascontiguousarray(colour[..., 1])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            seen = colour if case.limits.colour else grey
            packets = reference(case, seen)
            rows += [measure(core, case, seen, packets, Path(folder)) for core in CORES]
    if options.output:
        name = Path(options.picture).name if options.picture else "made up"
        write_bytes(options.output, (json.dumps({"picture": name, "results": rows}, indent=1) + "\n").encode())
    if options.json:
        print_json(rows)
    elif not options.quiet:
        say(table(rows))
    return OK


def table(rows: list[dict[str, Any]]) -> str:
    head = "core        configuration        flash  encoder  stack  analysis  coding   i/px"
    lines = [
        f"{r['core']:11s} {r['configuration']:19s} {r['flash']:6d} {r['encoder']:8d} {r['stack']:6d} "
        f"{r['analysis_per_pixel']:9.2f} {r['coding_per_pixel']:7.2f} {r['instructions_per_pixel']:6.2f}"
        for r in rows
    ]
    return "\n".join([head, *lines])


def main(argv: list[str] | None = None) -> int:
    return run_command(command, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
