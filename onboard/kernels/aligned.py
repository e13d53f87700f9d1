"""Arrays that begin with a line of the cache: a vector of 64 bytes then never lies in two, which takes twice as long.

Numba's own arrays begin at multiples of 32 bytes, so by chance. What is computed never changes: kernels of other files
may call it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_LINE = 64  # bytes


@njit
def aligned(values):
    """A flat copy of an array that begins with a line of the cache."""
    per_line = _LINE // values.itemsize
    room = np.empty(values.size + per_line, values.dtype)
    skip = -(room.ctypes.data // values.itemsize) % per_line
    copy = room[skip : skip + values.size]
    flat = values.reshape(values.size)
    for i in range(len(flat)):
        copy[i] = flat[i]
    return copy
