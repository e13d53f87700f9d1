"""What peers make of a lossy link: a picture to packets of 200 bytes, and back from those that arrive.

Every byte of a packet counts, the packets' own headers included; what a receiver cannot do without is given to the
peers for nothing: JPEG's tables and JPEG 2000's main header are known to it, and no checksum is sent. Each peer
may code the picture smaller where that is better (JPEG and JPEG 2000 at half size, SSDV at any).

- JPEG: libjpeg's usual tables, a restart marker behind every row of blocks; 12 bytes of header per packet, as much as
  RFC 2435 takes (without RTP's own). Rows that are lost are grey, as libjpeg leaves them, or, as another peer,
  interpolated from the nearest rows that are whole.
- JPEG 2000: OpenJPEG through glymur with SOP and EPH markers, segmentation symbols (mode switch 32), one quality
  layer, resolution by resolution, so that its packets do not need one another; whole picture, or precincts of 256 or
  128. 8 bytes of header per packet, as in RFC 5371; packets of the code that lack a byte are taken for empty ones.
- SSDV: the `ssdv` program of fsphil/ssdv, without its erasure code, which is for errors within packets.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import BenchmarkError
from benchmarks.metrics import psnr
from benchmarks.peers import enlarge, halve

Show = Callable[[list[bytes]], np.ndarray]  # packets that arrived to a picture of the original's size
GREY = 128


@dataclass(frozen=True)
class Sent:
    """A picture on its way: its packets, and what the receiver makes of those that arrive."""

    packets: list[bytes]
    show: Show


Sender = Callable[[np.ndarray, int, int], Sent | None]  # picture, budget, size of a packet


@dataclass(frozen=True)
class Peer:
    """Makes packets of at most `size` bytes out of a grey picture, in all at most the budget; none if it cannot."""

    name: str
    sender: Sender

    def send(self, picture: np.ndarray, budget: int, size: int) -> Sent:
        return self.sender(picture, budget, size) or Sent([], lambda arrived: np.full_like(picture, GREY))


def smaller(send: Sender) -> Sender:
    """The better of full and half size, judged without losses."""

    def better(picture: np.ndarray, budget: int, size: int) -> Sent | None:
        full, half = send(picture, budget, size), send(halve(picture), budget, size)
        height, width = picture.shape
        found = [] if full is None else [full]
        if half is not None:
            found.append(Sent(half.packets, lambda arrived: enlarge(half.show(arrived))[:height, :width]))
        return max(found, key=lambda sent: psnr(picture, sent.show(sent.packets)), default=None)

    return better


def finest(fits: Callable[[float], Sent | None], low: float, high: float, steps: int) -> Sent | None:
    """The last of what fits between a coarse and a fine setting, by bisection."""
    best = fits(low)
    if best is None:
        return None
    for _ in range(steps):
        middle = (low + high) / 2
        found = fits(middle)
        if found is None:
            high = middle
        else:
            low, best = middle, found
    return best


def within(sent: Sent, budget: int) -> Sent | None:
    return sent if sum(map(len, sent.packets)) <= budget else None


# ---------------------------------------------------------------- JPEG

_JPEG_HEADER = struct.Struct(">IHB5x")  # offset, interval that the first byte belongs to, whether it begins it
_RESTART = bytes(range(0xD0, 0xD8))
_END = b"\xff\xd9"


def send_jpeg(conceal: bool) -> Sender:
    def send(picture: np.ndarray, budget: int, size: int) -> Sent | None:
        def at(quality: float) -> Sent | None:
            out = io.BytesIO()
            Image.fromarray(picture).save(out, "JPEG", quality=int(quality), restart_marker_rows=1)
            return within(_jpeg_sent(out.getvalue(), picture.shape, size, conceal), budget)

        return finest(at, 1, 96, 7)

    return send


def _jpeg_sent(data: bytes, shape: tuple[int, ...], size: int, conceal: bool) -> Sent:
    at = data.index(b"\xff\xda")
    begin = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    head, scan = data[:begin], data[begin : -len(_END)]
    starts = [0] + [i + 2 for i in range(len(scan) - 1) if scan[i] == 0xFF and scan[i + 1] in _RESTART]
    packets, offset = [], 0
    while offset < len(scan):
        end = min(offset + size - _JPEG_HEADER.size, len(scan))
        if end < len(scan) and scan[end - 1] == 0xFF:  # a marker stays in one piece
            end -= 1
        interval = sum(s <= offset for s in starts) - 1
        packets.append(_JPEG_HEADER.pack(offset, interval, starts[interval] == offset) + scan[offset:end])
        offset = end
    rows = -(-shape[0] // 8)
    return Sent(packets, lambda arrived: _show_jpeg(head, rows, shape, arrived, conceal))


def _show_jpeg(head: bytes, rows: int, shape: tuple[int, ...], arrived: list[bytes], conceal: bool) -> np.ndarray:
    intervals, whole = [b""] * rows, np.zeros(rows, bool)
    following, current, sure = -1, 0, False
    for packet in sorted(arrived):
        offset, interval, begins = _JPEG_HEADER.unpack_from(packet)
        body: bytes = packet[_JPEG_HEADER.size :]
        if offset != following:
            current, sure = interval, bool(begins)
        following = offset + len(body)
        while body:
            end = next((i for i in range(len(body) - 1) if body[i] == 0xFF and body[i + 1] in _RESTART), None)
            if sure:
                intervals[current] += body if end is None else body[:end]
            if end is None:
                break
            whole[current] = sure
            current, sure, body = current + 1, True, body[end + 2 :]
    whole[rows - 1] = sure and current == rows - 1 and bool(arrived)
    scan = b"".join(part + bytes((0xFF, _RESTART[i % 8])) for i, part in enumerate(intervals))[:-2]
    with Image.open(io.BytesIO(head + scan + _END)) as image:
        picture = np.array(image)
    lines = np.repeat(whole, 8)[: shape[0]]
    if conceal and lines.any():
        known = np.flatnonzero(lines)
        lost = np.flatnonzero(~lines)
        above = known[np.maximum(np.searchsorted(known, lost) - 1, 0)]
        below = known[np.minimum(np.searchsorted(known, lost), len(known) - 1)]
        weight = np.where(above < below, (lost - above) / np.maximum(below - above, 1), 0)[:, None]
        picture[lost] = np.clip(picture[above] * (1 - weight) + picture[below] * weight + 0.5, 0, 255)
    return picture


# ---------------------------------------------------------------- JPEG 2000

_SOP, _EPH, _SOD, _EOC = b"\xff\x91\x00\x04", b"\xff\x92", b"\xff\x93", b"\xff\xd9"
_J2K_HEADER = struct.Struct(">II")  # first packet of the code, and where in it
_SEGMENTATION_SYMBOLS = 32


def send_jpeg2000(precinct: int | None) -> Sender:
    def send(picture: np.ndarray, budget: int, size: int) -> Sent | None:
        def at(bpp: float) -> Sent | None:
            return within(_j2k_sent(_encode_j2k(picture, bpp, precinct), picture.shape, size), budget)

        most = 8 * budget / picture.size
        return finest(at, most / 4, most, 8)

    return send


def _encode_j2k(picture: np.ndarray, bpp: float, precinct: int | None) -> bytes:
    glymur: Any = import_module("glymur")
    options: dict[str, Any] = {} if precinct is None else {"psizes": [(precinct, precinct)]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.j2k"
        glymur.Jp2k(
            path,
            data=picture,
            irreversible=True,
            cratios=[8 / bpp],
            prog="RPCL",
            sop=True,
            eph=True,
            modesw=_SEGMENTATION_SYMBOLS,
            **options,
        )
        return path.read_bytes()


def _j2k_sent(data: bytes, shape: tuple[int, ...], size: int) -> Sent:
    begin = data.index(_SOD) + 2
    head, body = data[:begin], data[begin : -len(_EOC)]
    parts = [_SOP + p for p in body.split(_SOP)[1:]]
    room = size - _J2K_HEADER.size
    packets, i, at = [], 0, 0
    while i < len(parts):
        first, where, taken = i, at, b""
        while i < len(parts) and len(taken) < room:
            left = parts[i][at:]
            if taken and len(left) > room - len(taken) and len(parts[i]) <= room:
                break  # goes whole into the next
            piece = left[: room - len(taken)]
            taken += piece
            i, at = (i + 1, 0) if len(piece) == len(left) else (i, at + len(piece))
        packets.append(_J2K_HEADER.pack(first, where) + taken)
    lengths = [len(p) for p in parts]
    return Sent(packets, lambda arrived: _show_j2k(head, lengths, shape, arrived))


def _show_j2k(head: bytes, lengths: list[int], shape: tuple[int, ...], arrived: list[bytes]) -> np.ndarray:
    got = [bytearray() for _ in lengths]
    for packet in sorted(arrived):
        i, at = _J2K_HEADER.unpack_from(packet)
        body = packet[_J2K_HEADER.size :]
        while body:
            piece = body[: lengths[i] - at]
            if len(got[i]) == at:
                got[i] += piece
            i, at, body = i + 1, 0, body[len(piece) :]
    empty = [_SOP + struct.pack(">H", i & 0xFFFF) + b"\0" + _EPH for i in range(len(lengths))]
    parts = [bytes(g) if len(g) == n else e for g, n, e in zip(got, lengths, empty, strict=True)]
    body = b"".join(parts)
    tile = head.rindex(b"\xff\x90")  # its length field says how far the tile goes
    length = len(head) - tile + len(body)
    whole = head[: tile + 6] + struct.pack(">I", length) + head[tile + 10 :] + body + _EOC
    try:
        with Image.open(io.BytesIO(whole)) as image:
            return np.array(image)
    except OSError:
        return np.full(shape, GREY, np.uint8)


# ---------------------------------------------------------------- SSDV

_SSDV_LEVELS = range(5)  # of 0 to 7; finer ones would leave but a few pixels
_SSDV_UNIT = 16  # sides of its pictures are multiples of this


def send_ssdv(program: str) -> Sender:
    def send(picture: np.ndarray, budget: int, size: int) -> Sent | None:
        height, width = picture.shape

        def at(level: int, fraction: float) -> Sent | None:
            w, h = (max(round(n * fraction / _SSDV_UNIT), 1) * _SSDV_UNIT for n in (width, height))
            out = io.BytesIO()
            Image.fromarray(picture).resize((w, h), Image.Resampling.BOX if fraction < 1 else None).save(
                out, "JPEG", quality=95
            )
            made = _ssdv(program, ["-e", "-n", "-c", "BENCH", "-q", str(level), "-l", str(size)], out.getvalue())
            packets = [made[i : i + size] for i in range(0, len(made), size)]
            return within(
                Sent(packets, lambda arrived: _show_ssdv(program, size, (h, w), (height, width), arrived)), budget
            )

        found = [
            sent
            for level in _SSDV_LEVELS
            if (sent := finest(lambda fraction, level=level: at(level, fraction), 0.1, 1, 6)) is not None  # type: ignore[misc]
        ]
        return max(found, key=lambda sent: psnr(picture, sent.show(sent.packets)), default=None)

    return send


def _show_ssdv(
    program: str, size: int, coded: tuple[int, int], shape: tuple[int, int], arrived: list[bytes]
) -> np.ndarray:
    in_order = sorted(arrived, key=lambda packet: packet[7:9])  # its number
    made = _ssdv(program, ["-d", "-l", str(size)], b"".join(in_order))
    try:
        with Image.open(io.BytesIO(made)) as image:
            image.draft("L", None)
            grey = image.convert("L")
    except OSError:
        return np.full(shape, GREY, np.uint8)
    if grey.size != coded[::-1]:
        return np.full(shape, GREY, np.uint8)
    return np.array(grey.resize(shape[::-1], Image.Resampling.BICUBIC))


def _ssdv(program: str, options: list[str], data: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in", Path(folder) / "out"
        source.write_bytes(data)
        subprocess.run([program, *options, str(source), str(target)], capture_output=True, check=False)
        return target.read_bytes() if target.exists() else b""


# ---------------------------------------------------------------- all


def peers(ssdv: str | None) -> list[Peer]:
    """Those that this machine has; one line on stderr for each that it lacks."""
    found = [
        Peer("JPEG, lost rows grey", smaller(send_jpeg(False))),
        Peer("JPEG, lost rows interpolated", smaller(send_jpeg(True))),
    ]
    try:
        version = import_module("glymur").version.openjpeg_version
        usable = tuple(map(int, version.split("."))) >= (2, 3)
    except ImportError:
        usable = False
    if usable:
        for precinct in (None, 256, 128):
            name = "JPEG 2000" + ("" if precinct is None else f", precincts {precinct}")
            found.append(Peer(name, smaller(send_jpeg2000(precinct))))
    else:
        say("left out: JPEG 2000, which needs `pip install glymur` and OpenJPEG (Debian: libopenjp2-7)")
    if ssdv is None:
        say("left out: SSDV; build it from its public source, fsphil/ssdv, and give --ssdv PATH")
    elif shutil.which(ssdv) is None:
        raise BenchmarkError(f"--ssdv {ssdv}: no such program")
    else:
        found.append(Peer("SSDV", send_ssdv(ssdv)))
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr)
