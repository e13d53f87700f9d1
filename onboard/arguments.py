"""Arguments of the public functions, checked and brought to what encoder and wire have. All raise InputError."""

from __future__ import annotations

import reprlib
from collections.abc import Container, Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from onboard.erasure import Protection
from onboard.errors import InputError
from onboard.model import Model, default_model, load_model
from onboard.planes import choose_window
from onboard.wire import (
    MAX_EXTENSION,
    MAX_PACKET,
    MAX_SCALE_LOG2,
    MIN_PACKET,
    TIME,
    Curve,
    Extension,
    ExtensionType,
    Window,
)

DEFAULT_BPP = 0.1
DEFAULT_LEAST = 64  # bytes: a thumbnail of 0.1 bits per pixel would be less than a header
MAX_BUDGET = 0xFFFFFFFF  # bytes: a larger one is taken as this, of which 32 bits tell encodings apart
LEAST_BPP, MOST_BPP = 1e-9, 1e6  # less is no byte of the largest picture, more than any samples have
BYTES = "a whole number of bytes"
NUMBER = int | float | np.integer | np.floating
RUN = bytes | bytearray | memoryview


def whole(name: str, value: object, right: str, allowed: Container[int] | None = None) -> int:
    """A whole number, of Python or numpy, also as floating point.

    Args:
        right: which are allowed, in words.
        allowed: the same as a range; None for all.
    """
    if isinstance(value, NUMBER) and value % 1 == 0 and (allowed is None or int(value) in allowed):
        return int(value)
    raise _wrong(name, value, right)


def real(name: str, value: object, right: str, low: float = 0, high: float = 1e9) -> float:
    """A number from `low` to `high`; `right` says the same in words. By default more than any argument may have."""
    if isinstance(value, NUMBER) and low <= value <= high:
        return float(value)
    raise _wrong(name, value, right)


def _items(name: str, values: Iterable, right: str, count: int | None = None) -> list:
    """The items of any iterable; `count` of them where that is given."""
    found = list(values) if isinstance(values, Iterable) else None
    if found is None or count not in (None, len(found)):
        raise _wrong(name, values, right)
    return found


def _wrong(name: str, value: object, right: str) -> InputError:
    return InputError(f"{name} {' '.join(reprlib.repr(value).split())}: must be {right}")


def joined(packets: bytes | Iterable[bytes]) -> bytes:
    """Packets that are given as one run of bytes or as several, as one."""
    if isinstance(packets, RUN):
        return bytes(packets)
    right = "bytes or an iterable of bytes; those of a file are Path(name).read_bytes()"
    found = _items("packets", packets, right)
    if not all(isinstance(each, RUN) for each in found):
        raise _wrong("packets", packets, right)
    return b"".join(found)


def budget_of(pixels: int, budget: int | None, bpp: float | None) -> int:
    """Bytes of a budget that is given in bytes or in bits per pixel; the default when neither is."""
    if budget is None:
        if bpp is None:
            return max(int(DEFAULT_BPP * pixels / 8), DEFAULT_LEAST)
        bpp = real("bits per pixel", bpp, "more than 0 and less than a million", LEAST_BPP, MOST_BPP)
        budget = max(int(bpp * pixels / 8), 1)
    elif whole("budget", budget, BYTES) < 1:
        raise InputError(f"a budget of {budget} bytes: must be at least 1")
    return min(int(budget), MAX_BUDGET)


def packet_size_of(size: int) -> int:
    """Most bytes of a packet; what it has to say beside a section may ask for more than the least."""
    size = whole("packet size", size, BYTES)
    return whole("packet size", size, f"{MIN_PACKET} to {MAX_PACKET} bytes", range(MIN_PACKET, MAX_PACKET + 1))


def scale_log2_of(scale: int) -> int:
    """Scale as the wire has it."""
    scales = [1 << i for i in range(MAX_SCALE_LOG2 + 1)]
    return scales.index(whole("scale", scale, f"1, 2, 4, ... {scales[-1]}", scales))


def interleave_log2_of(interleave: int) -> int:
    """Interleave as the wire has it."""
    return whole("interleave", interleave, "1, 2 or 4", (1, 2, 4)).bit_length() - 1


def check_quality(quality: float | None, finest: int) -> None:
    """Refuse a quality beyond `finest`."""
    if quality is not None:
        real("quality", quality, f"0 (coarsest) to {finest} (finest)", 0, finest)


def expected_of(loss: float, burst: float) -> tuple[float, float]:
    """Loss that is expected, and length of its bursts; onboard.expect says which there are."""
    right = "a number of packets lost in a row"
    return real("expected loss", loss, "a fraction, such as 0.5 for 50 %"), real("expected burst", burst, right)


def id_of(name: str, value: int) -> int:
    """An id of 16 bits."""
    return whole(name, value, "0 to 65535", range(1 << 16))


def protection_of(parity: tuple[float, float] | Protection | None, usual: Protection | None) -> Protection | None:
    """Erasure packets that are given in percent or as such; `usual` when they are not given."""
    if parity is None or isinstance(parity, Protection):
        return parity or usual
    return Protection.percent(*percentages_of(parity))


def percentages_of(parity: tuple[float, float]) -> tuple[float, float]:
    """Parity of layer 0 and of the layers above, in percent."""
    right = "percent for layer 0 and for the layers above, such as (40, 20)"
    first, rest = (real("parity", share, right) for share in _items("parity", parity, right, 2))
    return first, rest


def regions_of(regions: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Regions of a picture; whether they lie within it is for others to say."""
    right = "(x, y, width, height) in samples, and regions a list of such"
    found = [_items("region", region, right, 4) for region in _items("regions", regions, right)]
    return [tuple(whole("region", edge, right) for edge in region) for region in found]  # type: ignore[misc]


def model_of(model: Model | str | PathLike[str] | None) -> Model:
    """A model, that of a file, or the shipped one."""
    if model is None:
        return default_model()
    if isinstance(model, str | PathLike):
        return load_model(model)
    if not isinstance(model, Model):
        raise _wrong("model", model, "a Model or the name of its file")
    return model


def folder_of(name: str | PathLike[str] | None) -> Path | None:
    """A folder by its name."""
    if name is not None and not isinstance(name, str | PathLike):
        raise _wrong("nets", name, "the name of a folder")
    return None if name is None else Path(name)


def models_of(models: Model | str | PathLike[str] | Iterable[Model | str | PathLike[str]]) -> list[Model]:
    """Models, or those of files; a single one is one of them."""
    if isinstance(models, Model | str | PathLike):
        return [model_of(models)]
    return [model_of(model) for model in _items("models", models, "models or the names of their files")]


def extensions_of(source_id: str | None, capture_time_ms: int | None, metadata: str | None) -> tuple[Extension, ...]:
    """Extensions of a packet, of what was given."""
    found = []
    if source_id is not None:
        found.append(Extension(ExtensionType.SOURCE_ID, _encoded("source id", source_id)))
        if not source_id.isascii():
            raise InputError(f"source id {source_id!r}: must be ASCII")
    if capture_time_ms is not None:
        time = whole("capture time", capture_time_ms, "whole milliseconds in 64 bits", range(-(1 << 63), 1 << 63))
        found.append(Extension(ExtensionType.CAPTURE_TIME, TIME.pack(time)))
    if metadata is not None:
        found.append(Extension(ExtensionType.METADATA, _encoded("metadata", metadata)))
    return tuple(found)


def _encoded(name: str, text: str) -> bytes:
    """What an extension holds of a text."""
    if not isinstance(text, str):
        raise _wrong(name, text, "text")
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a command line may hold bytes that are no text
        raise _wrong(name, text, "valid text") from None
    if len(data) > MAX_EXTENSION:
        raise InputError(f"{name} of {len(data)} bytes: must be at most {MAX_EXTENSION}")
    return data


def window_of(picture: np.ndarray, window: tuple[int, int] | None, curve: str, no_data: bool | None) -> Window | None:
    """The window of a picture of 16-bit samples, chosen where none is given; None of one of 8 bits."""
    try:
        kind = Curve[str(curve).upper()]
    except KeyError:
        raise _wrong("curve", curve, "linear or sqrt") from None
    if picture.dtype != np.uint16:
        if window is not None or no_data is not None or kind != Curve.LINEAR:
            raise InputError("window, curve and no-data are for pictures of 16 bits; this one has 8")
        return None
    if no_data is None:
        no_data = float((picture == 0).mean()) > 0.01
    if window is None:
        return choose_window(picture, kind, bool(no_data))
    right = "(low, high), two samples"
    low, high = (whole("window", sample, right) for sample in _items("window", window, right, 2))
    depth = min(max(int(picture.max()).bit_length(), high.bit_length(), 9), 16)
    return Window(depth, kind, bool(no_data), low, high)
