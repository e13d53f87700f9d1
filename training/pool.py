"""A pool of decoded examples, renewed by threads while a net learns from it. Nothing is kept on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from types import TracebackType

import numpy as np
from PIL import Image

from onboard.encoder import Effort
from onboard.ground.nets import cores
from onboard.ground.neural import FINEST_STEP
from onboard.model import Model
from onboard.wire import BLOCK
from training.examples import CROP, NO_LOSS, Example, Loss, Part, make
from training.synthetic import coloured, drawing

POOL = 64
DRAWINGS = 0.06  # share of made-up pictures: text, line art, flat areas, noise
SHRUNK, SMALLEST = 0.5, 0.5  # share of pictures made smaller first, and how small: the same things, smaller and sharper
FRAMED = 0.06  # share of pictures with borders of one tone, as have pictures without data there
RELIT = 0.3  # share of pictures with another contrast and brightness
RECOLOURED, UNRELATED = 0.4, 0.15  # share of colour pictures with other colours, and of those with unrelated channels
LOSSY = 0.4
PACKET_SIZES = (100, 400)
STEPS = (FINEST_STEP, 96, 140)  # least, likeliest and most of layer 2
AHEAD = 2  # examples that every thread has begun before they are asked for


@dataclass(frozen=True)
class Batch:
    """Crops: seen float16 (n, rows, columns, inputs) of cells, base and target uint8 (n, planes, side * rows, side *
    columns), weight float32 (n,)."""

    seen: np.ndarray
    base: np.ndarray
    target: np.ndarray
    weight: np.ndarray


class Pool:
    """Decoded examples, one renewed at every batch. The same seed gives the same crops, however many threads there are.

    A context: at its end the threads end.
    """

    def __init__(self, pictures: list[np.ndarray], model: Model, part: Part, seed: int) -> None:
        self._source = _Source(pictures, model, part)
        self._part, self._seed = part, seed
        self._rng = np.random.default_rng(seed)
        self._threads = ThreadPoolExecutor(cores())
        self._coming: deque[Future[Example]] = deque()
        self._numbers = count()
        self._next = 0
        try:
            for _ in range(POOL + AHEAD * cores()):
                self._order()
            self._pool = [self._coming.popleft().result() for _ in range(POOL)]
        except BaseException:  # whoever would end the threads has no pool yet
            self._end()
            raise

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def batch(self, crops: int) -> Batch:
        """Random crops, after one example of the pool was renewed."""
        self._order()
        self._pool[self._next] = self._coming.popleft().result()
        self._next = (self._next + 1) % POOL
        side, across = self._part.side, self._part.layout.across
        areas = np.array([e.base.size for e in self._pool], float)
        seen, base, target, weight = [], [], [], []
        for which in self._rng.choice(POOL, crops, p=areas / areas.sum()):
            e = self._pool[which]
            y, x = (across * int(self._rng.integers((n - CROP) // across + 1)) for n in e.seen.shape[:2])
            area = np.s_[:, side * y : side * (y + CROP), side * x : side * (x + CROP)]
            seen.append(e.seen[y : y + CROP, x : x + CROP])
            base.append(e.base[area])
            target.append(e.target[area])
            weight.append(e.weight)
        return Batch(np.stack(seen), np.stack(base), np.stack(target), np.array(weight, np.float32))

    def _end(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _order(self) -> None:
        """Have the next example made."""
        self._coming.append(self._threads.submit(self._source.example, (self._seed, next(self._numbers))))


class _Source:
    """Random examples of pictures."""

    def __init__(self, pictures: list[np.ndarray], model: Model, part: Part) -> None:
        self._pictures, self._model, self._part = pictures, model, part
        areas = np.array([min(p.shape[0] * p.shape[1], 4 * part.most**2) for p in pictures], float)
        self._share = areas / areas.sum()

    def example(self, seed: Sequence[int]) -> Example:
        """The example of a seed."""
        rng, model, part = np.random.default_rng(seed), self._model, self._part
        picture = self._picture(rng)
        if rng.random() < FRAMED:
            picture = _framed(picture, rng)
        if rng.random() < RELIT:
            gain, shift = rng.uniform(0.6, 1.2), rng.uniform(-30, 30)
            picture = np.clip((picture - 128.0) * gain + 128.0 + shift, 0, 255).astype(np.uint8)
        if not part.grey and rng.random() < RECOLOURED:
            picture = _recoloured(picture, rng)
        price = model.price
        if rng.random() < 0.4:  # what the search for a budget may do
            price = int(price * 2 ** rng.uniform(-2, 1.5))
        loss = NO_LOSS
        if rng.random() < LOSSY:
            burst = 1.0 if rng.random() < 0.6 else float(rng.uniform(1, 6))
            size = int(rng.integers(*PACKET_SIZES))
            loss = Loss(float(rng.uniform(0.02, 0.45)), burst, size, int(rng.integers(3)))
        index = round(rng.triangular(*part.indices))
        step = round(rng.triangular(*STEPS)) if part.refined else None
        effort = Effort(model.threshold, price)
        return make(picture, model, part, index, effort, loss, int(rng.integers(1 << 31)), step)

    def _picture(self, rng: np.random.Generator) -> np.ndarray:
        """A piece of a picture in one of the eight symmetries of the square, or a drawing."""
        least, most = self._part.crop, self._part.most
        if rng.random() < DRAWINGS:
            return (drawing if self._part.grey else coloured)(rng, max(most // 2, least))
        picture = self._pictures[int(rng.choice(len(self._pictures), p=self._share))]
        smallest = min(max(SMALLEST, least / (2 * min(picture.shape[:2]))), 1.0)
        factor = rng.uniform(smallest, 1) if rng.random() < SHRUNK else 1.0
        picture = _shrunk(_piece(picture, rng, round(most / factor)), factor)
        missing = [max(least - n, 0) for n in picture.shape[:2]]
        picture = np.pad(picture, [(0, n) for n in missing] + [(0, 0)] * (picture.ndim - 2), "symmetric")
        picture = np.rot90(picture, int(rng.integers(4)))
        return np.ascontiguousarray(picture.swapaxes(0, 1) if rng.random() < 0.5 else picture)


def _piece(picture: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """A random part of at most side x side."""
    y, x = (int(rng.integers(max(n - side, 0) + 1)) for n in picture.shape[:2])
    return picture[y : y + side, x : x + side]


def _framed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture, uint8, with black or white borders on some sides, most of them of whole blocks at scales 1 and 2."""
    framed = picture.copy()
    tone = 0 if rng.random() < 0.7 else 255
    for turn in range(4):
        side = np.rot90(framed, turn)  # a view
        wide = int(rng.integers(1, len(side) // 3))
        wide = max(wide // (2 * BLOCK), 1) * 2 * BLOCK if rng.random() < 0.7 else wide
        if rng.random() < 0.5:
            side[:wide] = tone
    return framed


def _shrunk(picture: np.ndarray, factor: float) -> np.ndarray:
    """A picture, uint8, at `factor` (above 0, to 1) of its size."""
    height, width = (max(round(factor * n), 1) for n in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def _recoloured(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour picture, uint8 (height, width, 3), with its channels exchanged and its colours paler or stronger; once
    in a while with channels that have nothing to do with each other."""
    other = picture[..., rng.permutation(3)]
    if rng.random() < UNRELATED:
        other = np.stack([other[..., 0], other[::-1, :, 1], other[:, ::-1, 2]], -1)
    grey = other.mean(-1, keepdims=True)
    return np.clip(np.rint(grey + rng.uniform(0.4, 2.5) * (other - grey)), 0, 255).astype(np.uint8)
