"""Arguments of the public functions, checked and brought to what encoder and wire have. All raise InputError."""

from __future__ import annotations

from os import PathLike

import numpy as np

from onboard.errors import InputError
from onboard.model import Model, default_model, load_model
from onboard.planes import choose_window
from onboard.wire import MAX_EXTENSION, MAX_SCALE_LOG2, TIME, Curve, Extension, ExtensionType, Window

DEFAULT_BPP = 0.1
DEFAULT_LEAST = 64  # bytes: a thumbnail of 0.1 bits per pixel would be less than a header


def budget_of(picture: np.ndarray, budget: int | None, bpp: float | None) -> int:
    """Bytes of a budget that is given in bytes or in bits per pixel; the default when neither is."""
    if budget is None:
        if bpp is not None and not 0 < bpp < 1e6:
            raise InputError(f"{bpp} bits per pixel: must be more than 0 and less than a million")
        least = DEFAULT_LEAST if bpp is None else 1
        return max(int((bpp or DEFAULT_BPP) * picture.shape[0] * picture.shape[1] / 8), least)
    if budget < 1:
        raise InputError(f"a budget of {budget} bytes: must be at least 1")
    return budget


def scale_log2_of(scale: int) -> int:
    """Scale as the wire has it."""
    if scale not in {1 << i for i in range(MAX_SCALE_LOG2 + 1)}:
        raise InputError(f"scale {scale}: must be 1, 2, 4, ... {1 << MAX_SCALE_LOG2}")
    return scale.bit_length() - 1


def interleave_log2_of(interleave: int) -> int:
    """Interleave as the wire has it."""
    if interleave not in (1, 2, 4):
        raise InputError(f"interleave {interleave}: must be 1, 2 or 4")
    return interleave.bit_length() - 1


def check_quality(quality: float | None, finest: int) -> None:
    """Refuse a quality beyond `finest`."""
    if quality is not None and not 0 <= quality <= finest:
        raise InputError(f"quality {quality}: must be 0 (coarsest) to {finest} (finest)")


def check_id(name: str, value: int) -> int:
    """An id of 16 bits."""
    if not 0 <= value <= 0xFFFF:
        raise InputError(f"{name} {value}: must be 0 to 65535")
    return value


def model_of(model: Model | str | PathLike[str] | None) -> Model:
    """A model, that of a file, or the shipped one."""
    if model is None:
        return default_model()
    return model if isinstance(model, Model) else load_model(model)


def extensions_of(source_id: str | None, capture_time_ms: int | None, metadata: str | None) -> tuple[Extension, ...]:
    """Extensions of a packet, of what was given."""
    found = []
    for name, text in (("source id", source_id), ("metadata", metadata)):
        if text is not None and len(text.encode()) > MAX_EXTENSION:
            raise InputError(f"{name} of {len(text.encode())} bytes: must be at most {MAX_EXTENSION}")
    if source_id is not None:
        if not source_id.isascii():
            raise InputError(f"source id {source_id!r}: must be ASCII")
        found.append(Extension(ExtensionType.SOURCE_ID, source_id.encode()))
    if capture_time_ms is not None:
        if not -(1 << 63) <= capture_time_ms < 1 << 63:
            raise InputError(f"capture time {capture_time_ms}: must fit 64 bits")
        found.append(Extension(ExtensionType.CAPTURE_TIME, TIME.pack(capture_time_ms)))
    if metadata is not None:
        found.append(Extension(ExtensionType.METADATA, metadata.encode()))
    return tuple(found)


def window_of(picture: np.ndarray, window: tuple[int, int] | None, curve: str, no_data: bool | None) -> Window | None:
    """The window of a picture of 16-bit samples, chosen where none is given; None of one of 8 bits."""
    try:
        kind = Curve[curve.upper()]
    except KeyError:
        raise InputError(f"curve {curve!r}: must be linear or sqrt") from None
    if picture.dtype != np.uint16:
        if window is not None or no_data or kind != Curve.LINEAR:
            raise InputError("window, curve and no-data are for pictures of 16 bits; this one has 8")
        return None
    if no_data is None:
        no_data = float((picture == 0).mean()) > 0.01
    if window is None:
        return choose_window(picture, kind, no_data)
    depth = min(max(int(picture.max()).bit_length(), int(window[1]).bit_length(), 9), 16)
    return Window(depth, kind, no_data, *window)
