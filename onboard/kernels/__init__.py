"""All @njit code: arrays and integers in, arrays and integers out. Nothing here allocates much, raises or opens.

The files do not call each other: numba's cache keys a function by its own file only.
"""
