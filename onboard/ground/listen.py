"""Packets from a socket as they come, and pictures rewritten as they grow.

A thread does nothing but empty the socket, so that decoding a picture never lets the kernel's buffer run over; what it
has received waits in a queue of bounded size. Every byte is accounted for in the store's report of this source.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlsplit

from onboard.errors import InputError, OnboardError
from onboard.ground.pictures import Store
from onboard.options import named, say, seconds
from onboard.unframe import Unframer
from onboard.wire import Description

MEMORY_LIMIT = 1 << 30  # bytes of packets that are kept; those beyond are refused, and counted
RECEIVE_BUFFER = 16 << 20  # bytes asked of the kernel: six seconds at 20 Mbit/s; it gives what its limits allow
QUEUE_LIMIT = 64 << 20  # bytes that wait to be parsed; beyond that datagrams are dropped, and counted
CHUNK = 1 << 16
POLL = 0.2  # seconds
SWITCH_INTERVAL = 1e-4  # seconds


@dataclass
class Listener:
    """A listening socket.

    Attributes:
        url: "udp://host:port" or "tcp://host:port"; port 0 takes a free one.
        dropped: bytes for which the queue had no room.
    """

    url: str
    dropped: int = 0
    _queue: deque[tuple[int, bytes]] = field(default_factory=deque)
    _waiting: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)
    _arrived: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("tcp", "udp") or port is None or not parts.hostname:
            raise InputError(f"{self.url!r}: must be tcp://HOST:PORT or udp://HOST:PORT")
        self.is_udp = parts.scheme == "udp"
        family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM if self.is_udp else socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if not self.is_udp:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((parts.hostname, port))
            if not self.is_udp:
                self._socket.listen()
        except OSError as e:
            self._socket.close()
            raise InputError(f"{self.url}: {e.strerror or e}") from None
        self._socket.settimeout(POLL)
        threading.Thread(target=self._receive_udp if self.is_udp else self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._closed.set()
        self._socket.close()

    def take(self, timeout: float) -> list[tuple[int, bytes]]:
        """What has come: (connection, bytes), in order; a datagram is whole. Waits for the first for some seconds."""
        self._arrived.wait(timeout)
        with self._lock:
            found = list(self._queue)
            self._queue.clear()
            self._waiting = 0
            self._arrived.clear()
        return found

    def _put(self, connection: int, data: bytes) -> bool:
        with self._lock:
            if self._waiting + len(data) > QUEUE_LIMIT:
                return False
            self._queue.append((connection, data))
            self._waiting += len(data)
            self._arrived.set()
        return True

    def _receive_udp(self) -> None:
        while not self._closed.is_set():
            try:
                data = self._socket.recv(CHUNK)
            except TimeoutError:
                continue
            except OSError:
                return
            if not self._put(0, data):
                self.dropped += len(data)

    def _accept(self) -> None:
        number = 0
        while not self._closed.is_set():
            try:
                peer, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            number += 1
            threading.Thread(target=self._receive_tcp, args=(peer, number), daemon=True).start()

    def _receive_tcp(self, peer: socket.socket, number: int) -> None:
        with peer:
            peer.settimeout(POLL)
            while not self._closed.is_set():
                try:
                    data = peer.recv(CHUNK)
                except TimeoutError:
                    continue
                except OSError:
                    data = b""
                while not self._put(number, data) and not self._closed.wait(POLL):
                    pass  # the sender waits: TCP loses nothing
                if not data:
                    return


def listen(
    listener: Listener,
    store: Store,
    unframer: Callable[[], Unframer],
    redraw: Callable[[], None],
    *,
    every: float,
    idle: float | None,
) -> None:
    """Fill a store from a listener until nothing has come for `idle` seconds (None: until interrupted).

    Args:
        unframer: makes what takes the frames off one connection's bytes.
        redraw: called when something new has come, at most once in `every` seconds, and at the end.
    """
    connections: dict[int, Unframer] = {}
    # Every receive gives up the interpreter's lock. With the usual 5 ms until it is given back, parsing would leave
    # the receiving thread 200 datagrams a second, and the kernel would drop the rest.
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    last, drawn, fresh = monotonic(), 0.0, False
    try:
        while idle is None or monotonic() - last < idle:
            for connection, data in listener.take(min(every, POLL)):
                last = monotonic()
                fresh = True
                if listener.is_udp:
                    store.add(unframer().feed(data, final=True), listener.url)
                    continue
                to = connections.setdefault(connection, unframer())
                store.add(to.feed(data, final=not data), listener.url)
                if not data:
                    del connections[connection]
            if fresh and monotonic() - drawn >= every:
                redraw()
                drawn, fresh = monotonic(), False
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        sys.setswitchinterval(switch_interval)
    for to in connections.values():
        store.add(to.feed(b"", final=True), listener.url)
        fresh = True
    if fresh:
        redraw()


def add_listen(parser: argparse.ArgumentParser) -> None:
    """Options of `ground-decode` for packets that come over a network."""
    group = parser.add_argument_group("listening")
    group.add_argument(
        "--listen", type=named, metavar="URL", help="take packets from tcp://HOST:PORT or udp://HOST:PORT"
    )
    group.add_argument("--live", action="store_true", help="rewrite pictures as they grow, whole or not at all")
    group.add_argument("--every", type=seconds, default=1.0, metavar="S", help="with --live: at most every S seconds")
    group.add_argument("--idle", type=seconds, metavar="S", help="stop when nothing has come for S seconds")


def listen_command(
    store: Store, options: argparse.Namespace, write: Callable[[Description, bool], object]
) -> Description | None:
    """Fill the store from --listen; with --live, write every picture that has grown.

    Args:
        write: told whether a picture's name must carry its id, as all but the first picture's do.

    Returns:
        the picture whose name carries no id, if one has been written.
    """
    store.limit = MEMORY_LIMIT
    drawn: dict[Description, int] = {}  # packets that each picture was last drawn from

    def redraw() -> None:
        try:
            found = store.descriptions()
        except OnboardError:
            return  # nothing usable yet
        for description in found:
            count = len(store.pictures.get(description, ())) + len(store.parity.get(description, ()))
            if drawn.get(description) == count:
                continue
            drawn[description] = count
            try:
                write(description, description != next(iter(drawn)))
            except OnboardError as e:
                say(f"{options.listen}: {e}")

    listener = Listener(options.listen)
    if not options.quiet:
        say(f"{options.listen}: listening on port {listener.port}")
    listen(
        listener,
        store,
        lambda: Unframer(options.framing, options.apid),
        redraw if options.live else lambda: None,
        every=options.every,
        idle=options.idle,
    )
    if listener.dropped or store.refused:
        say(f"{options.listen}: {listener.dropped} bytes dropped, {store.refused} packets refused for lack of memory")
    return next(iter(drawn), None)
