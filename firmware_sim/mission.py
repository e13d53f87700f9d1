"""What a mission is: camera, boards, radio, passes, ground. Read from a TOML file or made from options.

README.md shows a file; `missions/` has examples that come along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from firmware_sim.devices import COMPUTER, Device, Transmitter, find_device, find_radio
from firmware_sim.link import Link
from firmware_sim.settings import Table, parse_toml
from onboard.airtime import RADIOS, check_framing
from onboard.errors import InputError
from onboard.image_io import read_bytes
from onboard.stream_parity import Group
from onboard.wire import MAX_PACKET, MIN_PACKET

DEFAULT_BPP = 0.1
DEFAULT_PACKET = 200
DEFAULT_INTERVAL = 10.0
EXAMPLES = "missions"
MAX_TIME = 1e9  # seconds
MAX_PASSES = 10_000


@dataclass(frozen=True)
class Camera:
    """Where frames come from and when they are taken.

    Attributes:
        images: picture files and folders of them; empty for made-up frames.
        made_up: (count, width, height) of made-up frames.
        colour: whether those are RGB.
        first, interval: seconds; when the first frame is taken, and from one to the next.
    """

    images: tuple[Path, ...] = ()
    made_up: tuple[int, int, int] = (0, 0, 0)
    colour: bool = False
    first: float = 0.0
    interval: float = DEFAULT_INTERVAL


@dataclass(frozen=True)
class Setup:
    """A board and how it encodes.

    Attributes:
        device: the profile. name: how reports call this setup.
        budget: most bytes of a picture, or else bpp: bits per pixel.
        packet, scale, interleave, gray, expect_loss, expect_burst, parity: as onboard.compress has them; scale 0 is
            "auto", no interleave is 1 unless a loss is expected.
        ram, flash: bytes that other software leaves for the encoder; what the device has by default.
        seconds: most time for one picture; from one frame to the next by default.
        store: most bytes of packets that are kept; None for no limit.
    """

    device: Device
    name: str
    budget: int | None = None
    bpp: float = DEFAULT_BPP
    packet: int = DEFAULT_PACKET
    scale: int = 1
    interleave: int | None = None
    gray: bool = False
    expect_loss: float = 0.0
    expect_burst: float = 1.0
    parity: tuple[float, float] | None = None
    ram: int | None = None
    flash: int | None = None
    seconds: float | None = None
    store: int | None = None

    @property
    def interleave_log2(self) -> int:
        return (self.interleave or 1).bit_length() - 1

    def groups(self) -> tuple[Group, Group]:
        """Erasure groups of a microcontroller's layer 0 and layer 1. Raises InputError."""
        first, rest = self.parity or (0, 0)
        return Group.percent(first), Group.percent(rest)

    def bytes_for(self, pixels: int) -> int:
        """Byte budget of a picture."""
        return self.budget if self.budget is not None else int(self.bpp * pixels / 8)


@dataclass(frozen=True)
class Contact:
    """A pass: from `start` for `seconds` at `bitrate` bits per second, over a link that loses packets."""

    start: float
    seconds: float
    bitrate: float
    link: Link

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True)
class Mission:
    """All that happens.

    Attributes:
        resend: whether the ground asks after each pass for what is missing; map_limit: most bytes of one map;
            ask_every: seconds after which it asks within a pass too, None for not.
        jpeg: quality of the JPEG files that the previews are compared with.
    """

    camera: Camera
    setups: tuple[Setup, ...]
    radio: Transmitter
    contacts: tuple[Contact, ...]
    seed: int = 0
    resend: bool = True
    map_limit: int | None = None
    ask_every: float | None = None
    jpeg: int = 20

    def __post_init__(self) -> None:
        for before, after in zip(self.contacts, self.contacts[1:], strict=False):
            if after.start < before.end:
                raise InputError(
                    f"the pass at {after.start:g} s begins before the one at {before.start:g} s ends ({before.end:g} s)"
                )
        names = [s.name for s in self.setups]
        if len(set(names)) < len(names):
            raise InputError(f"several devices have one name: {', '.join(names)}: give each a `name`")
        for s in self.setups:
            check_setup(s)
            check_framing(s.packet, self.radio.overhead, RADIOS[self.radio.framing])


def check_setup(s: Setup) -> None:
    """Raise InputError for settings that the device's encoder does not have."""
    if s.device.kind == COMPUTER:
        return
    if s.expect_loss:
        raise InputError(f"{s.name}: expect_loss is for computers; a microcontroller is told its parity")
    try:
        s.groups()
    except InputError as e:
        raise InputError(f"{s.name}: {e}") from None
    if s.scale not in (1, 2, 4):
        raise InputError(f"{s.name}: microcontrollers code at scale 1, 2 or 4")


def read_mission(path: str) -> Mission:
    """A mission file, or an example that comes along, by its name. Raises InputError naming file and key."""
    example = files("firmware_sim") / EXAMPLES / f"{path}.toml"
    if not Path(path).exists() and "/" not in path and example.is_file():
        return parse_mission(example.read_text(), f"{path}.toml", Path())
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a mission is TOML") from None
    return parse_mission(text, path, Path(path).parent)


def parse_mission(text: str, name: str, folder: Path) -> Mission:
    """Read a mission; pictures are relative to `folder`. Raises InputError."""
    top = parse_toml(text, name)
    camera = _camera(top.table("camera"), folder)
    ground = top.table("ground", needed=False)
    radio = _radio(top.table("radio"))
    setups = tuple(_setup(t) for t in top.tables("device"))
    contacts = _contacts(top.tables("pass"), radio)
    seed = top.integer("seed", 0, 1 << 62, 0)
    top.done()
    resend = ground.flag("resend", True)
    map_limit = ground.size("map_limit", None)
    ask_every = ground.number("ask_every", 0.1, MAX_TIME, None)
    jpeg = ground.integer("jpeg", 1, 100, 20)
    ground.done()
    try:
        return Mission(camera, setups, radio, contacts, seed, resend, map_limit, ask_every, jpeg)
    except InputError as e:
        raise InputError(f"{name}: {e}") from None


def _camera(t: Table, folder: Path) -> Camera:
    images = tuple(folder / p for p in t.texts("images", ()))
    count = t.integer("made_up", 1, 1000, 0)
    width, height = t.integer("width", 8, 65535, 640), t.integer("height", 8, 65535, 480)
    camera = Camera(
        images,
        (count, width, height),
        t.flag("colour", False),
        t.number("first", 0, MAX_TIME, 0.0),
        t.number("interval", 0.001, MAX_TIME, DEFAULT_INTERVAL),
    )
    t.done()
    if bool(images) == bool(count):
        raise InputError(f"{t.where}: give either images, a list of files and folders, or made_up, a number of frames")
    return camera


def _radio(t: Table) -> Transmitter:
    radio = find_radio(t.text("profile"))
    bitrate = t.number("bitrate", 1, 1e10, radio.bitrate)
    watts = t.number("watts", 0, 1e4, radio.watts)
    t.done()
    return replace(radio, bitrate=bitrate, watts=watts)


def _setup(t: Table) -> Setup:
    device = find_device(t.text("profile"))
    scales = (1, 2, 4, 8, 16, 32, 64, 128)
    found = Setup(
        device,
        t.text("name", device.key),
        budget=t.size("budget", None),
        bpp=t.number("bpp", 0.001, 8, DEFAULT_BPP),
        packet=t.integer("packet", MIN_PACKET, MAX_PACKET, DEFAULT_PACKET),
        scale=0 if t.choice("scale", (*scales, "auto"), 1) == "auto" else t.data.get("scale", 1),
        interleave=t.choice("interleave", (1, 2, 4), None),
        gray=t.flag("gray", False),
        expect_loss=t.number("expect_loss", 0, 0.9, 0.0),
        expect_burst=t.number("expect_burst", 1, 1000, 1.0),
        parity=t.numbers("parity", 2, None),
        ram=t.size("ram", None),
        flash=t.size("flash", None),
        seconds=t.number("seconds", 0.001, MAX_TIME, None),
        store=t.size("store", None),
    )
    t.done()
    if "budget" in t.data and "bpp" in t.data:
        raise InputError(f"{t.where}: give budget or bpp, not both")
    if not found.name or "/" in found.name or found.name.startswith("."):
        raise t.wrong("name", "the name of a folder, without slashes and not hidden")
    return found


def _contacts(tables: list[Table], radio: Transmitter) -> tuple[Contact, ...]:
    """Passes in order. A pass begins at `start`, or `gap` seconds behind the one before; so do its repetitions."""
    found: list[Contact] = []
    for t in tables:
        end = found[-1].end if found else 0.0
        start = t.number("start", 0, MAX_TIME, None)
        gap = t.number("gap", 0, MAX_TIME, 0.0)
        seconds = t.number("seconds", 0.001, MAX_TIME)
        bitrate = t.number("bitrate", 1, 1e10, radio.bitrate)
        repeat = t.integer("repeat", 1, MAX_PASSES, 1)
        link = _link(t, radio.overhead)
        t.done()
        begin = end + gap if start is None else start
        for _ in range(repeat):
            found.append(Contact(begin, seconds, bitrate, link))
            begin = found[-1].end + gap
    return tuple(found)


def _link(t: Table, overhead: int) -> Link:
    rates = {key: t.number(key, 0, 1, 0.0) for key in ("loss", "good_loss", "bit_errors", "duplicate")}
    burst, bad = t.number("burst", 1, 1e6, None), t.number("bad_loss", 0, 1, 1.0)
    try:
        return Link(
            rates["loss"],
            burst,
            rates["good_loss"],
            bad,
            bit_error_rate=rates["bit_errors"],
            duplicate=rates["duplicate"],
            overhead=overhead,
        )
    except InputError as e:
        raise InputError(f"{t.where}: {e}") from None
