"""The C encoder as a shared library, called as a camera driver would call it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np

from onboard.wire import BLOCK, Description


class Status(IntEnum):
    """obc_status of obc.h."""

    OK = 0
    PACKET = 1
    EMPTY = 2
    DONE = 3
    BUSY = 4
    ERROR_NULL = -1
    ERROR_CONFIG = -2
    ERROR_ROWS = -3
    ERROR_STATE = -4


class Format(IntEnum):
    """obc_format of obc.h."""

    GREY8 = 0
    RGB888 = 1
    RGB565LE = 2
    RGB565BE = 3


class Config(ctypes.Structure):
    """obc_config of obc.h."""

    _fields_ = (
        ("width", ctypes.c_uint16),
        ("height", ctypes.c_uint16),
        ("image_id", ctypes.c_uint16),
        ("tag", ctypes.c_uint16),
        ("packet_size", ctypes.c_uint16),
        ("quota", ctypes.c_uint32),
        ("index", ctypes.c_uint8),
        ("scale_log2", ctypes.c_uint8),
        ("interleave_log2", ctypes.c_uint8),
        ("format", ctypes.c_uint8),
        ("parity", ctypes.c_uint8 * 2),
        ("group", ctypes.c_uint8 * 2),
    )


def config_of(
    description: Description,
    packet_size: int,
    index: int = 0,
    quota: int | None = None,
    groups: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
) -> Config:
    """`groups`: (k, m) of the erasure groups of layer 0 and layer 1."""
    d = description
    return Config(
        d.width,
        d.height,
        d.picture_id,
        d.tag,
        packet_size,
        quota or 0,
        index,
        d.scale_log2,
        d.interleave_log2,
        d.colour,
        (groups[0][1], groups[1][1]),
        (groups[0][0], groups[1][0]),
    )


class Encoder:
    """One encoder: `reset`, `sink`, `poll` and `finish` as in obc.h."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._c.obc_encoder_size.restype = ctypes.c_size_t
        self._c.obc_reset_sized.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        self._c.obc_sink_rows.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint16)
        self.size: int = self._c.obc_encoder_size()
        self._c.obc_encode.restype = ctypes.c_size_t
        self._c.obc_encode.argtypes = (*[ctypes.c_void_p] * 3, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
        self._memory = ctypes.create_string_buffer(self.size)

    def reset(self, config: Config) -> Status:
        return Status(self._c.obc_reset_sized(self._memory, self.size, ctypes.byref(config)))

    def sink(self, rows: np.ndarray) -> Status:
        """Rows of samples; contiguous within a row."""
        return Status(self._c.obc_sink_rows(self._memory, rows.ctypes.data, rows.strides[0], rows.shape[0]))

    def poll(self) -> tuple[Status, bytes]:
        packet, size = ctypes.c_void_p(), ctypes.c_uint16()
        status = Status(self._c.obc_poll_packet(self._memory, ctypes.byref(packet), ctypes.byref(size)))
        return status, ctypes.string_at(packet.value, size.value) if packet.value else b""

    def finish(self) -> Status:
        return Status(self._c.obc_finish(self._memory))

    def packets(self, picture: np.ndarray, config: Config, idle: Callable[[], bool] = lambda: False) -> list[bytes]:
        """A whole picture. `idle` says whether to make a call that has nothing to do before the next one."""
        found: list[bytes] = []
        _expect(self.reset(config), Status.OK)
        for top in range(0, picture.shape[0], BLOCK):
            rows = picture[top : top + BLOCK]
            _expect(self.sink(rows), Status.OK)
            self._drain(found, Status.EMPTY, idle)
        _expect(self.finish(), Status.OK)
        self._drain(found, Status.DONE, idle)
        return found

    def stream(self, picture: np.ndarray, config: Config, room: np.ndarray) -> memoryview:
        """A whole picture in one call: its packets, one after another, in `room`, uint8 (bytes,)."""
        args = ctypes.byref(config), picture.ctypes.data, picture.strides[0], room.ctypes.data, room.size
        size = self._c.obc_encode(self._memory, *args)
        if not size:
            raise RuntimeError("the encoder refuses the picture, or there is no room for its packets")
        return room[:size].data

    def _drain(self, found: list[bytes], until: Status, idle: Callable[[], bool]) -> None:
        while True:
            status, packet = self.poll()
            if status == until:
                if not idle():
                    return
                continue
            _expect(status, Status.PACKET)
            found.append(packet)


def _expect(status: Status, wanted: Status) -> None:
    if status != wanted:
        raise RuntimeError(f"encoder says {status.name}, not {wanted.name}")
