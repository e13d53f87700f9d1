"""All @njit code: arrays and integers in, arrays and integers out. Nothing here allocates much, raises or opens.

The files do not call each other, but for what never changes, the format's own and plain arithmetic: numba's cache keys
a function by its own file only. This one finds the cache a place, before any kernel is compiled: $NUMBA_CACHE_DIR, else
a folder of ours below $XDG_CACHE_HOME or ~/.cache. A folder that is there but cannot be written (a board's read-only
disk, warmed up at install time) is copied to a temporary one; with no place at all kernels are compiled in memory,
every time, and `CACHE_NOTE` says so.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import binding as llvm
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.runtime import _nrt_python


def _find_cache() -> tuple[str | None, str]:
    """(folder or None, one line on what is off)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or os.path.join(home, "onboard-compress", "numba"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder), ""
    except OSError:
        pass
    if not (folder.is_dir() and any(folder.iterdir())):
        return None, f"kernels are compiled on every start: {folder} cannot be written; set NUMBA_CACHE_DIR"
    try:
        copy = tempfile.mkdtemp(prefix="onboard-compress-")
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        return copy, ""
    except OSError:
        return None, f"kernels are compiled on every start: {folder} is read-only and no temporary folder can be made"


_folder, CACHE_NOTE = _find_cache()
CACHE = _folder is not None
if _folder is not None:
    numba.config.CACHE_DIR = _folder


@lru_cache
def _publish_memory_functions() -> None:
    """As numba's own runtime does, which at the same time compiles what is in the machine code already."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


class _MachineCode(CompileResultCacheImpl):
    """What is kept of a compiled kernel: machine code, and nothing that only linking or inspecting it would need."""

    def reduce(self, cres: Any) -> Any:
        whole = super().reduce(cres)
        try:
            (name, kind, (code, _)), description, *others, _, reload_init, _ = whole
            hollow = llvm.parse_assembly(f'define void @"{description.llvm_cpython_wrapper_name}"() {{ ret void }}')
        except (TypeError, ValueError, AttributeError):  # another numba keeps other things: then all of them
            return whole
        return ((name, kind, (code, hollow.as_bitcode())), description, *others, "", reload_init, ())


class _Cache(FunctionCache):
    """Numba's cache, but that loading a kernel does not prepare the compiler, which takes longer than all the rest.

    Machine code needs the addresses of numba's memory functions and nothing more. (The compiler prepares itself when it
    is needed; it would also import scipy, where that is installed, to see whether there is a BLAS.)
    """

    _impl_class = _MachineCode

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        _publish_memory_functions()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def kernel(function: Callable[..., Any], fastmath: bool = False) -> Callable[..., Any]:
    """Decorator of the functions that Python calls: compiled for the types they are given, cached where possible.

    Args:
        fastmath: floats may be reordered; for decoders that are not normative.
    """
    compiled = numba.njit(nogil=True, fastmath=fastmath)(function)
    if CACHE and not numba.config.DISABLE_JIT:
        compiled._cache = _Cache(function)
    return compiled


def per_block(blocks: int, units: int, make: Callable[..., np.ndarray] = np.zeros) -> np.ndarray:
    """Zeros (or np.empty), int16 (blocks, units), in Fortran order, as kernels like values of many blocks best."""
    return make((units, blocks), np.int16).T
