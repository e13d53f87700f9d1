"""Training pictures: any folder of files that Pillow reads, as 8-bit planes, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from onboard.errors import InputError
from onboard.image_io import READABLE, read_picture
from onboard.options import progress_bar, say
from onboard.planes import choose_window, strips
from onboard.wire import Colour, Curve, Description

VALIDATION_EVERY = 10

T = TypeVar("T")


def find(folders: Sequence[Path]) -> list[Path]:
    """All picture files below the folders, each once, in an order that depends on where they lie only."""
    found = [p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in READABLE and p.is_file()]
    if not found:
        raise InputError(f"no pictures below {', '.join(map(str, folders))}")
    places = {p.absolute().resolve(): p for p in reversed(found)}  # a folder may be given twice, or in another one
    return [places[place] for place in sorted(places, key=Path.as_posix)]


def readable(paths: Sequence[Path]) -> list[Path]:
    """Those of the files that can be read to their end; says what is wrong with the others.

    Raises InputError when none is left.
    """
    found, faults = [], []
    for path in _counted(paths, "reading"):
        try:
            read_picture(path)
            found.append(path)
        except InputError as e:
            faults.append(e)
    for fault in faults:  # below the bar, not within it
        say(f"{fault}; left out")
    if not found:
        raise InputError(f"none of {len(paths)} pictures can be read")
    return found


def split(pictures: list[T]) -> tuple[list[T], list[T]]:
    """(training, validation): one picture of VALIDATION_EVERY validates."""
    training = [p for i, p in enumerate(pictures, 1) if i % VALIDATION_EVERY]
    return training, pictures[VALIDATION_EVERY - 1 :: VALIDATION_EVERY]


def describe(picture: np.ndarray, colour: Colour, scale_log2: int = 0) -> Description:
    """How a picture is coded; ids are zero."""
    window = choose_window(picture, Curve.LINEAR, bool((picture == 0).any())) if picture.itemsize == 2 else None
    return Description(0, 0, 0, picture.shape[1], picture.shape[0], scale_log2, 0, colour, window)


def luma(picture: np.ndarray) -> np.ndarray:
    """The 8-bit grey or Y plane that the encoder would code."""
    description = describe(picture, Colour.GREY)
    return np.concatenate([strip for _, _, strip in strips(picture, description)])


def load(paths: Sequence[Path], what: str) -> Iterator[np.ndarray]:
    """Pictures one by one, with a progress bar on a terminal. Raises InputError naming a file; see readable()."""
    yield from map(read_picture, _counted(paths, what))


def _counted(paths: Sequence[Path], what: str) -> Iterator[Path]:
    """The paths one by one, with a progress bar on a terminal."""
    progress = progress_bar(what)
    for i, path in enumerate(paths):
        if progress is not None:
            progress(i + 1, len(paths))
        yield path


def blocks(plane: np.ndarray) -> np.ndarray:
    """Plane to blocks: float64 (rows, columns, 64), minus 128, edges padded by replication."""
    h, w = plane.shape
    padded = np.pad(plane, ((0, -h % 8), (0, -w % 8)), mode="edge")
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    return padded.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(rows, columns, 64) - 128.0
