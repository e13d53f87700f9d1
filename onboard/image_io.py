"""The only module that opens picture files. Bytes in, arrays out, and back; outputs are written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from onboard.errors import InputError

READABLE = frozenset(
    (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".pnm", ".gif", ".jp2")
)
STDIO = "-"
SHOWN = 32  # characters of a name in that of its temporary file, which has more behind them
TIFF_BITS = 258  # BitsPerSample
_JPEG2000_HEAD = 1 << 16  # bytes of a file in which its codestream begins
PNG_RGB, PNG_UP = 2, 2  # colour type; filter
_DEEP_COLOUR = re.compile("RGB[AX]?;16[BLN]")
_RAW_TYPES = {"u8": "u1", "u16le": "<u2", "u16be": ">u2", "rgb888": "u1", "rgb565le": "<u2", "rgb565be": ">u2"}
_RAW = re.compile(rf"(\d{{1,5}})x(\d{{1,5}}):({'|'.join(_RAW_TYPES)})")


def read_bytes(path: str) -> bytes:
    """A whole file, or standard input for "-". Raises InputError naming the file."""
    try:
        return sys.stdin.buffer.read() if path == STDIO else Path(path).read_bytes()
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None


def check_outputs(outputs: list[str], inputs: list[str]) -> None:
    """Raise InputError where outputs cannot go: to a folder that does not exist or takes no files, over a folder, an
    input, or each other."""
    for i, output in enumerate(outputs):
        if output != STDIO:
            folder = os.path.dirname(output) or "."
            if not os.path.isdir(folder):
                raise InputError(f"{output}: there is no folder {folder}")
            if os.path.isdir(output):
                raise InputError(f"{output}: is a folder; give the name of a file")
            if not os.access(output if is_special(output) else os.path.dirname(os.path.realpath(output)), os.W_OK):
                raise InputError(f"{output}: cannot be written there")
            if any(_same(output, path) for path in inputs if path != STDIO):
                raise InputError(f"{output}: is what would be read; give another name")
        if any(_same(output, other) for other in outputs[:i]):
            raise InputError(f"{output}: would be written twice; give another name")


def is_special(path: str) -> bool:
    """Whether something is there that is no file: a device or a pipe takes whatever comes."""
    return os.path.exists(path) and not os.path.isfile(path)


def _same(one: str, other: str) -> bool:
    """Whether two names are those of one file."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.isfile(one) and os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def read_picture(path: str | Path, data: bytes | None = None) -> np.ndarray:
    """A picture file as uint8 or uint16, (h, w) or (h, w, 3), upright as its EXIF says; alpha is dropped.

    Args:
        path: of the file; "-" is standard input.
        data: the bytes of the file, where they have been read.

    Raises InputError (naming the file) for anything that Pillow cannot read as such.
    """
    if data is None and (str(path) == STDIO or is_special(str(path))):  # which cannot be read twice
        data = read_bytes(str(path))
    source = path if data is None else io.BytesIO(data)
    try:
        with _opened(source) as image:
            deep = _deep_colour(image)
            if deep:  # Pillow keeps 8 bits of a colour sample, but lets us say which
                image.tile = [_tile_of(tile, deep, high=True) for tile in image.tile]
            high = _upright(image)
            if not deep:
                return _to_array(high)
        with _opened(source) as image:
            image.tile = [_tile_of(tile, deep, high=False) for tile in image.tile]
            low = _upright(image)
        return np.asarray(high)[..., :3].astype(np.uint16) << 8 | np.asarray(low)[..., :3]
    except InputError as e:
        raise InputError(f"{path}: {e}") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(f"{path}: more than {most} pixels, Pillow's limit; a raw dump (--raw) has none") from None
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError) as e:
        if data == b"" or (data is None and os.path.isfile(path) and os.path.getsize(path) == 0):
            raise InputError(f"{path}: an empty file, not a picture") from None
        detail = "" if isinstance(e, UnidentifiedImageError) else f" ({e})"
        raise InputError(f"{path}: not a picture that Pillow can read{detail}") from None
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None


def _opened(source: Any) -> ImageFile.ImageFile:
    with warnings.catch_warnings():  # from half of Pillow's limit on
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _deep_colour(image: ImageFile.ImageFile) -> str:
    """How the colour samples of more than 8 bits lie, "RGB;16B" and the like; "" for any other picture.

    Raises InputError for those of which Pillow makes 8 bits and nothing else.
    """
    modes = {_raw_mode(tile) for tile in image.tile}
    samples = getattr(image, "tag_v2", {}).get(TIFF_BITS, ())
    deep_planes = len(samples) > 1 and max(samples) > 8  # one after another: their modes say nothing of a depth
    deep_planes |= image.format == "JPEG2000" and image.mode.startswith("RGB") and _jpeg2000_bits(image) > 8
    if not deep_planes and not any(";16" in mode and not mode.startswith("I") for mode in modes):
        return ""
    mode = modes.pop()
    if modes or not _DEEP_COLOUR.fullmatch(mode):
        raise InputError(
            "16-bit samples that Pillow cuts to 8: give colour without alpha as PNG, or as plain TIFF or PPM"
        )
    return mode


def _jpeg2000_bits(image: ImageFile.ImageFile) -> int:
    """Bits of a sample, of which Pillow says nothing: from the codestream's SIZ segment (ISO/IEC 15444-1, A.5.1)."""
    file = image.fp
    assert file is not None  # open until the picture is loaded
    file.seek(0)
    head = file.read(_JPEG2000_HEAD)
    at = head.find(b"\xff\x4f\xff\x51")  # SOC and SIZ
    depth = head[at + 42 : at + 43] if at >= 0 else b""
    return (depth[0] & 127) + 1 if depth else 8


def _raw_mode(tile: Any) -> str:
    """Pillow's name for how the samples of a part of a file lie; of PPM, which has none, one of that kind."""
    args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    if tile[0].startswith("ppm") and args[0] == "RGB" and args[1] > 255:
        return "RGB;16B" if tile[0] == "ppm" else "RGB;16 as text"
    return str(args[0])


def _tile_of(tile: Any, mode: str, high: bool) -> Any:
    """The same part of a file, read as the high or the low byte of each sample."""
    codec, extents, offset, args = tile
    order = {"B": "BL", "L": "LB", "N": "LB" if sys.byteorder == "little" else "BL"}[mode[-1]]
    wanted = mode[:-1] + order[0 if high else 1]  # the high byte of one order is the low byte of the other
    if codec == "ppm":
        codec, args = "raw", (wanted, 0, 1)
    else:
        args = (wanted, *args[1:]) if isinstance(args, tuple) else wanted
    return getattr(type(tile), "_make", tuple)((codec, extents, offset, args))  # a named tuple since Pillow 11


def _to_array(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if image.mode == "F":
            raise InputError("samples are floating point: scale them to integers of 8 or 16 bits first")
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"samples from {values.min()} to {values.max()}: only 0 to 65535 can be coded")
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


def png_bytes(picture: np.ndarray, text: dict[str, str] | None = None, colours: np.ndarray | None = None) -> bytes:
    """A picture (uint8 or uint16) as PNG, with text chunks.

    Args:
        colours: uint8 (256, 3) in which to show the samples of a grey one, which stay what they are.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    if picture.dtype == np.uint16 and picture.ndim == 3:
        return _deep_colour_png(picture, info)
    out = io.BytesIO()
    image = Image.fromarray(picture)
    if colours is not None:
        image.putpalette(colours.tobytes())
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _deep_colour_png(picture: np.ndarray, info: PngImagePlugin.PngInfo) -> bytes:
    """A uint16 (height, width, 3) picture as PNG, which Pillow cannot write: each row less the one above it."""
    height, width = picture.shape[:2]
    rows = picture.astype(">u2").view(np.uint8).reshape(height, 6 * width)
    filtered = np.empty((height, 1 + 6 * width), np.uint8)
    filtered[:, 0] = PNG_UP
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    out = io.BytesIO()
    out.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(out, b"IHDR", struct.pack(">2I5B", width, height, 16, PNG_RGB, 0, 0, 0))
    for chunk in info.chunks:
        PngImagePlugin.putchunk(out, chunk[0], chunk[1])
    PngImagePlugin.putchunk(out, b"IDAT", zlib.compress(filtered.tobytes()))
    PngImagePlugin.putchunk(out, b"IEND", b"")
    return out.getvalue()


def as_jpeg(picture: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    """An 8-bit picture as JPEG with optimised tables, for comparison, and what it decodes to."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality, optimize=True)
    with Image.open(out) as decoded:
        return out.getvalue(), np.array(decoded)


def picture_format(path: str) -> str:
    """The ending of the format that a picture is written in: that of the name, .png for "-" and for a device or a pipe
    of another name. Raises InputError where there is no such format."""
    suffix = Path(path).suffix.lower()
    if suffix == ".png" or path == STDIO:
        return ".png"
    if Image.registered_extensions().get(suffix) in Image.SAVE:  # some are only read
        return suffix
    if is_special(path):
        return ".png"
    raise InputError(f"{path}: unknown picture format {suffix!r}; .png always works")


def encode_picture(path: str, picture: np.ndarray, text: dict[str, str]) -> bytes:
    """File bytes of a picture in the format that the name's ending asks for. Raises InputError."""
    suffix = picture_format(path)
    if suffix == ".png":
        return png_bytes(picture, text)
    if picture.dtype == np.uint16 and picture.ndim == 3:
        raise InputError(f"{path}: colour of 16 bits is written as .png only")
    out = io.BytesIO()
    try:
        Image.fromarray(picture).save(out, Image.registered_extensions()[suffix])
    except OSError as e:
        raise InputError(f"{path}: {e}; .png always works") from None
    if picture.dtype == np.uint16:  # some formats cut it to 8 bits without a word
        with Image.open(out) as written:
            if not written.mode.startswith("I"):
                raise InputError(f"{path}: {suffix} has 8 bits, the picture 16; .png and .tif have as many")
    return out.getvalue()


def write_bytes(path: str, data: bytes) -> None:
    """Write a file whole or not at all, and to what else there is, "-" (standard output), a device or a pipe, directly.

    A link stays one. Raises InputError naming the file.
    """
    if path == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target, temporary = Path(os.path.realpath(path)), None
    try:
        if is_special(path):  # what it is may have no name, as a pipe in /dev/fd
            Path(path).write_bytes(data)
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:SHOWN]}.", dir=target.parent)
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as e:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise InputError(f"{path}: {e.strerror or e}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
