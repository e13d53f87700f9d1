"""The only module that opens picture files. Bytes in, arrays out, and back; outputs are written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from onboard.errors import InputError

READABLE = frozenset(
    (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".pnm", ".gif", ".jp2")
)
STDIO = "-"
_RAW_TYPES = {"u8": "u1", "u16le": "<u2", "u16be": ">u2", "rgb888": "u1", "rgb565le": "<u2", "rgb565be": ">u2"}
_RAW = re.compile(rf"(\d{{1,5}})x(\d{{1,5}}):({'|'.join(_RAW_TYPES)})")


def read_bytes(path: str) -> bytes:
    """A whole file, or standard input for "-". Raises InputError naming the file."""
    try:
        return sys.stdin.buffer.read() if path == STDIO else Path(path).read_bytes()
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as uint8 or uint16, (h, w) or (h, w, 3), upright as its EXIF says; alpha is dropped.

    Raises InputError (naming the file) for anything that Pillow cannot read as such.
    """
    source = io.BytesIO(read_bytes(STDIO)) if str(path) == STDIO else path
    try:
        with Image.open(source) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_array(image)
    except InputError as e:
        raise InputError(f"{path}: {e}") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError) as e:
        detail = "" if isinstance(e, UnidentifiedImageError) else f" ({e})"
        raise InputError(f"{path}: not a picture that Pillow can read{detail}") from None
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None


def _to_array(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise InputError(f"samples of mode {image.mode} outside 0 to 65535: convert to 8 or 16 bits first")
        return values.astype(np.uint16)
    if image.mode in ("L", "RGB"):
        return np.array(image)
    grey = image.mode in ("1", "LA", "La")
    return np.array(image.convert("L" if grey else "RGB"))


def read_raw(path: str, layout: str) -> np.ndarray:
    """A raw sensor dump, e.g. layout "640x480:u16le"; a file is mapped, not read, unless it is RGB565.

    Raises InputError.
    """
    match = _RAW.fullmatch(layout)
    if not match:
        raise InputError(f"raw layout {layout!r}: must be WIDTHxHEIGHT:TYPE, TYPE one of {', '.join(_RAW_TYPES)}")
    width, height = int(match[1]), int(match[2])
    dtype = np.dtype(_RAW_TYPES[match[3]])
    shape = (height, width, 3) if match[3] == "rgb888" else (height, width)
    wanted = math.prod(shape) * dtype.itemsize
    have = len(data := read_bytes(path)) if path == STDIO else _size(path)
    if have != wanted or not wanted:
        raise InputError(f"{path}: {have} bytes, {layout} takes {wanted}")
    if path == STDIO:
        values = np.frombuffer(data, dtype).reshape(shape)
    else:
        values = np.memmap(path, dtype, "r", shape=shape)
    if match[3].startswith("rgb565"):
        return expand_rgb565(values)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def expand_rgb565(values: np.ndarray) -> np.ndarray:
    """uint16 (h, w) of 5 bits red, 6 green, 5 blue to uint8 (h, w, 3): the highest bits repeat behind the lowest.

    So 0 stays 0 and the largest value becomes 255, as in firmware_sim/c.
    """
    red, green, blue = values >> 11, values >> 5 & 63, values & 31
    return np.stack([red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2], -1).astype(np.uint8)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None


def png_bytes(picture: np.ndarray, text: dict[str, str] | None = None) -> bytes:
    """A picture (uint8 or uint16) as PNG, with text chunks."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def as_jpeg(picture: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    """An 8-bit picture as JPEG with optimised tables, for comparison, and what it decodes to."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality, optimize=True)
    with Image.open(out) as decoded:
        return out.getvalue(), np.array(decoded)


def encode_picture(path: str, picture: np.ndarray, text: dict[str, str]) -> bytes:
    """File bytes of a picture in the format that the name's ending asks for (PNG for "-"). Raises InputError."""
    suffix = Path(path).suffix.lower()
    if path == STDIO or suffix == ".png":
        return png_bytes(picture, text)
    out = io.BytesIO()
    try:
        Image.fromarray(picture).save(out, Image.registered_extensions()[suffix])
    except KeyError:
        raise InputError(f"{path}: unknown picture format {suffix!r}; .png always works") from None
    except OSError as e:
        raise InputError(f"{path}: {e}; .png always works") from None
    return out.getvalue()


def write_bytes(path: str, data: bytes) -> None:
    """Write a file whole or not at all ("-" is standard output). Raises InputError naming the file."""
    if path == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as e:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise InputError(f"{path}: {e.strerror or e}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
