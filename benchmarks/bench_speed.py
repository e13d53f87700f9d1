"""The same ratios under pytest-benchmark: `pytest benchmarks/bench_speed.py`. A picture is made, none is needed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

import onboard
from benchmarks.speed import jpeg


def picture(colour: bool) -> np.ndarray:
    """A smooth 3 MP scene with edges and some texture: uint8."""
    y, x = np.mgrid[:1500, :2000].astype(np.float32)
    waves = 60 * np.sin(x / 90) * np.cos(y / 70) + 25 * ((x // 160 + y // 120) % 2)
    grain = np.random.default_rng(1).normal(0, 3, y.shape)
    grey = np.clip(118 + waves + grain, 0, 255).astype(np.uint8)
    return np.stack([grey, 255 - grey // 2, grey // 3 + 60], -1) if colour else grey


PICTURES = {"grey": picture(False), "rgb": picture(True)}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("who", ["onboard", "jpeg"])
def test_encode(benchmark: BenchmarkFixture, name: str, who: str) -> None:
    benchmark.group = f"encode {name}"
    if who == "onboard":
        benchmark(onboard.compress, PICTURES[name], quality=50)
    else:
        benchmark(jpeg, Image.fromarray(PICTURES[name]), 10)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("who", ["plain", "linear", "jpeg"])
def test_decode(benchmark: BenchmarkFixture, name: str, who: str) -> None:
    benchmark.group = f"decode {name}"
    if who == "jpeg":
        data = jpeg(Image.fromarray(PICTURES[name]), 10)
        benchmark(lambda: Image.open(io.BytesIO(data)).load())
    else:
        data = onboard.compress(PICTURES[name], quality=50)
        benchmark(onboard.decompress, data, enhance=who)
