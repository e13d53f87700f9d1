"""What the camera takes: picture files one after another, or landscapes that are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from firmware_sim.mission import Camera
from onboard.errors import InputError
from onboard.image_io import READABLE, read_picture

MAX_FRAMES = 65535  # picture ids


@dataclass(frozen=True)
class Frame:
    """A picture of the camera: its number from 1 on, which is its picture id, its name, and when it is taken."""

    number: int
    name: str
    taken: float
    path: Path | None
    size: tuple[int, int]
    colour: bool
    seed: int

    def picture(self) -> np.ndarray:
        """uint8 or uint16, (height, width) or (height, width, 3); not to be written to. Raises InputError."""
        return _picture(self)


@lru_cache(maxsize=64)
def _picture(frame: Frame) -> np.ndarray:
    if frame.path is not None:
        return read_picture(frame.path)
    return landscape(frame.size[1], frame.size[0], frame.colour, [frame.seed, frame.number])


def take(camera: Camera, seed: int) -> list[Frame]:
    """The camera's frames in order. Raises InputError when there are none."""
    if camera.images:
        paths: list[Path | None] = [*picture_files(camera.images)]
    else:
        paths = [None] * camera.made_up[0]
    if len(paths) > MAX_FRAMES:
        raise InputError(f"{len(paths)} pictures: at most {MAX_FRAMES}")
    return [
        Frame(
            i + 1,
            path.stem if path else "made-up",
            camera.first + i * camera.interval,
            path,
            camera.made_up[1:],
            camera.colour,
            seed,
        )
        for i, path in enumerate(paths)
    ]


def picture_files(places: Sequence[Path]) -> list[Path]:
    """The picture files among files and folders, each folder's by name. Raises InputError."""
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: no such file or folder")
        inside = sorted(p for p in place.iterdir() if p.suffix.lower() in READABLE) if place.is_dir() else [place]
        if not inside:
            raise InputError(f"{place}: no pictures in it ({', '.join(sorted(READABLE))})")
        found += inside
    return found


def luma(picture: np.ndarray) -> np.ndarray:
    """What a camera in grey mode delivers: BT.601 luma in 8-bit fixed point, of the same type."""
    if picture.ndim == 2:
        return picture
    sums = picture.astype(np.uint32) @ np.array((77, 150, 29), np.uint32)
    return ((sums + 128) >> 8).astype(picture.dtype)


def landscape(height: int, width: int, colour: bool, seed: list[int]) -> np.ndarray:
    """Land, water and clouds from above, out of noise at many scales: uint8 (height, width) or (height, width, 3)."""
    rng = np.random.default_rng(seed)
    land, cloud = _noise(rng, height, width, 2.2), _noise(rng, height, width, 1.8)
    fields = _noise(rng, height, width, 1.1)
    dry = land > 0
    cover = np.clip(3 * (cloud - 0.6), 0, 1)[..., None]
    ground = np.where(dry[..., None], (112.0, 118.0, 78.0), (26.0, 46.0, 74.0))
    ground = ground + (22 * fields * dry + 14 * land)[..., None]
    picture = np.clip(ground * (1 - cover) + 235 * cover + rng.normal(0, 1.5, (height, width, 1)), 0, 255)
    rgb = picture.astype(np.uint8)
    return rgb if colour else luma(rgb)


def _noise(rng: np.random.Generator, height: int, width: int, slope: float) -> np.ndarray:
    """Noise with a spectrum that falls with that power of the frequency; mean 0, deviation 1."""
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    values = np.fft.irfft2(spectrum / np.hypot(np.hypot(y, x), 1 / max(height, width)) ** slope, (height, width))
    return np.asarray((values - values.mean()) / (values.std() + 1e-12))
