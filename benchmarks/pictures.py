"""Finds and reads the bench pictures.

The data folder holds one folder per set. It is given by `--data`; without it, `shared/data/bench` beside the
repository is used if it is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import ROOT, BenchmarkError

SETS = ("kodak", "waterloo", "classic", "aerial", "big")
HEADLINE_SETS = ("kodak", "waterloo", "aerial")
_SUFFIXES = {".png", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
_DEFAULT_DATA = ROOT.parent / "shared" / "data" / "bench"
_LARGEST = 200_000_000
"""Pixels; Pillow's own limit is for pictures from strangers."""


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """`--data DIR`, the same in every program."""
    parser.add_argument("--data", metavar="DIR", help="folder that holds kodak/, waterloo/, aerial/ ...")


def data_folder(given: str | None) -> Path:
    """The folder that holds the sets."""
    folder = Path(given) if given else _DEFAULT_DATA
    if not folder.is_dir():
        hint = "no such folder" if given else "no bench pictures beside the repository; give --data DIR"
        raise BenchmarkError(f"{folder.name if not given else folder}: {hint}")
    return folder


def read(path: Path) -> np.ndarray:
    """A picture as HxW or HxWx3 uint8, or HxW uint16; transparency is dropped."""
    Image.MAX_IMAGE_PIXELS = _LARGEST
    try:
        with Image.open(path) as file:
            if file.mode in ("I;16", "I;16B", "I"):
                deep = np.asarray(file)
                if deep.min() < 0 or deep.max() > 65535:
                    raise BenchmarkError(f"{path}: samples outside 0 to 65535")
                return deep.astype(np.uint16)
            grey = file.mode in ("1", "L", "LA")
            return np.array(file.convert("L" if grey else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BenchmarkError(f"{path}: not a picture that can be read ({error})") from error


def paths(folder: Path, name: str) -> list[Path]:
    """The picture files of one set, by name."""
    if name not in SETS:
        raise BenchmarkError(f"unknown set {name!r}: one of {', '.join(SETS)}")
    found = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in _SUFFIXES)
    if not found:
        raise BenchmarkError(f"{folder / name}: no pictures there")
    return found


def headline_paths(folder: Path, name: str) -> list[Path]:
    """The files that headline figures are made of: 8-bit pictures, and of waterloo only those of 512x512."""

    def counts(path: Path) -> bool:
        picture = read(path)
        return picture.dtype == np.uint8 and (name != "waterloo" or picture.shape[:2] == (512, 512))

    return [path for path in paths(folder, name) if counts(path)]


def pictures(folder: Path, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, picture) for each headline picture of a set."""
    for path in headline_paths(folder, name):
        yield path.stem, read(path)
