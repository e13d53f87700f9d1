"""What the promise of equal bytes everywhere stands on: machine, byte order, exact integers from numba."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from numba import njit


@pytest.mark.skipif("EXPECT_MACHINE" not in os.environ, reason="only run.sh says which machine to expect")
def test_machine():
    assert platform.machine() == os.environ["EXPECT_MACHINE"]


def test_little_endian():
    assert sys.byteorder == "little"
    assert np.array([1], np.int64).tobytes() == b"\x01" + bytes(7)


def test_python_can_start_itself():
    command = [sys.executable, "-c", "import platform; print(platform.machine())"]
    assert subprocess.check_output(command, text=True).strip() == platform.machine()


@njit(cache=True)
def mix(pixels, weights, shift, out):
    """Wrapping uint8 and int64 arithmetic, shifts and divisions of negative numbers."""
    total = np.int64(0)
    for i in range(pixels.size):
        product = np.int64(pixels[i]) * weights[i]
        total += (product >> shift) ^ (product // 7)
        out[i] = np.uint8(product - total)
    return total


def test_numba_integers_are_exact():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, 1000, dtype=np.uint8)
    weights = rng.integers(-(2**62), 2**62, 1000, dtype=np.int64)
    out = np.zeros(1000, np.uint8)
    got = mix(pixels, weights, 5, out)

    def wrap(value):
        return (value + 2**63) % 2**64 - 2**63

    total, expected = 0, []
    for p, w in zip(pixels.tolist(), weights.tolist(), strict=True):
        product = wrap(p * w)
        total = wrap(total + ((product >> 5) ^ (product // 7)))
        expected.append((product - total) % 256)
    assert got == total
    assert out.tolist() == expected
