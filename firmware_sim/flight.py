"""A mission from the camera to the ground's pictures, in simulated time: the same seed, the same flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from firmware_sim.board import Board, Builds, Preview, as_taken
from firmware_sim.frames import Frame
from firmware_sim.ground import Ground
from firmware_sim.mission import Contact, Mission, Setup
from firmware_sim.transmit import Entry, Queue
from onboard import decompress
from onboard.errors import OnboardError
from onboard.missing import parse_map
from onboard.quality import psnr

SAMPLES = 8  # of what the ground sees, in a pass
SEEDS = 1_000_003  # apart: each slice of a pass has a seed of its own

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sent:
    """A packet on the air: when its last bit is sent, which, its bytes, whether it came intact, the queue behind it."""

    time: float
    entry: Entry
    size: int
    intact: bool
    queue: int


@dataclass(frozen=True)
class Sample:
    """What the ground sees at a time: pictures with anything, with all of layer 0, complete; their PSNR in dB."""

    time: float
    seen: int
    coarse: int
    complete: int
    psnr: dict[int, float]


@dataclass
class PassLog:
    """What happened in a pass. Bytes are those of packets, without framing."""

    contact: Contact
    queue_before: int
    sent: list[Sent] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    queue_after: int = 0
    joules: float = 0.0
    asked_maps: int = 0
    asked_pictures: int = 0
    asked_bytes: int = 0
    again: int = 0

    @property
    def bytes_sent(self) -> int:
        return sum(s.size for s in self.sent)

    @property
    def bytes_intact(self) -> int:
        return sum(s.size for s in self.sent if s.intact)


@dataclass(frozen=True)
class Refused:
    """A frame that the board did not encode, and why."""

    frame: Frame
    why: str


class Flight:
    """One setup's mission. `run` fills the attributes.

    Attributes:
        previews: by picture number. refused: frames that did not fit.
        whole: PSNR in dB of each picture if every packet had come. passes, ground: what happened.
        queue_peak, kept_peak: most bytes that waited, and that were kept for sending again.
    """

    def __init__(self, mission: Mission, setup: Setup, frames: list[Frame], builds: Builds) -> None:
        self.mission, self.setup = mission, setup
        self.board = Board(setup, builds)
        self.ground = Ground(mission.map_limit)
        self.queue = Queue()
        self.previews: dict[int, Preview] = {}
        self.refused: list[Refused] = []
        self.whole: dict[int, float] = {}
        self.passes: list[PassLog] = []
        self.queue_peak = self.kept_peak = 0
        self._frames = deque(frames)
        self._count = len(frames)
        self._encoded: deque[Preview] = deque()  # not ready yet
        self._sent: set[tuple[int, int]] = set()
        self._kept: dict[int, int] = {}
        self._busy = 0.0
        self._slices = 0

    def run(self, progress: Progress) -> None:
        for number, contact in enumerate(self.mission.contacts):
            self._pass(number, contact, progress)
        self._take(float("inf"), progress)

    def _pass(self, number: int, contact: Contact, progress: Progress) -> None:
        """Slice by slice: after each, the ground may ask. Without `ask_every` a pass is one slice."""
        self._take(contact.start, progress)
        log = PassLog(contact, self.queue.bytes)
        self.passes.append(log)
        now, again = contact.start, number + 1 < len(self.mission.contacts)
        while now < contact.end:
            until = min(now + (self.mission.ask_every or contact.seconds), contact.end)
            samples = max(round(SAMPLES * (until - now) / contact.seconds), 1)
            sent, now = self._transmit(contact, now, until, progress)
            self._deliver(log, sent, samples)
            log.queue_after = self.queue.bytes
            if self.mission.resend and (again or now < contact.end):
                self._ask(log)
        log.joules = sum(8 * (s.size + contact.link.overhead) for s in log.sent) / contact.bitrate
        log.joules *= self.mission.radio.watts
        progress(f"{self.setup.name}: passes", number + 1, len(self.mission.contacts))

    def _deliver(self, log: PassLog, sent: list[tuple[float, Entry, int]], samples: int) -> None:
        """Send packets over the link, and look at what the ground sees so many times."""
        packets = [self.previews[entry.number].packets[entry.place] for _, entry, _ in sent]
        delivered = log.contact.link.deliveries(packets, self.mission.seed * SEEDS + self._slices)
        self._slices += 1
        intact = {i for i, data in delivered if data == packets[i]}
        news = [
            Sent(time, entry, len(packet), i in intact, queue)
            for i, ((time, entry, queue), packet) in enumerate(zip(sent, packets, strict=True))
        ]
        log.sent += news
        every = max(ceil(len(delivered) / samples), 1)
        for i, (place, data) in enumerate(delivered):
            self.ground.hear(news[place].time, data, self.previews)
            if (i + 1) % every == 0 or i + 1 == len(delivered):
                log.samples.append(self._sample(news[place].time))

    def _transmit(
        self, contact: Contact, now: float, until: float, progress: Progress
    ) -> tuple[list[tuple[float, Entry, int]], float]:
        """Packets back to back until a time is reached, none across the end of the pass.

        Returns their ends, and the queue behind each; and the time reached.
        """
        sent: list[tuple[float, Entry, int]] = []
        while now < until:
            self._take(now, progress)
            if not self.queue:
                upcoming = [p.ready for p in self._encoded] + [f.taken for f in self._frames]
                now = min(*upcoming, until) if upcoming else until
                continue
            _, size = self.queue.first()
            ends = now + 8 * (size + contact.link.overhead) / contact.bitrate
            if ends > contact.end:
                return sent, contact.end
            now = ends
            entry = self.queue.pop()
            self._sent.add((entry.number, entry.place))
            if not self.mission.resend:
                self._kept[entry.number] -= size
            sent.append((now, entry, self.queue.bytes))
        return sent, now

    def _take(self, now: float, progress: Progress) -> None:
        """Take and encode what the camera has up to a time, and queue what the encoder has ready by then."""
        while self._frames and self._frames[0].taken <= now:
            self._encode(self._frames.popleft())
            progress(f"{self.setup.name}: frames", self._count - len(self._frames), self._count)
        while self._encoded and self._encoded[0].ready <= now:
            self.queue.add(self._encoded.popleft())
            self.queue_peak = max(self.queue_peak, self.queue.bytes)

    def _encode(self, frame: Frame) -> None:
        picture = as_taken(frame, self.setup.gray)
        need = self.board.need(picture)
        limit = self.mission.camera.interval if self.setup.seconds is None else self.setup.seconds
        why = self.board.refusal(picture, need, limit, sum(self._kept.values()))
        packets: list[bytes] = []
        if why is None:
            try:
                packets = self.board.encode(frame, picture)
            except OnboardError as e:
                why = str(e)
        if not packets:
            self.refused.append(Refused(frame, why or "its byte budget holds no packet"))
            return
        preview = Preview(frame, self.setup.gray, packets, need)
        decoded = decompress(preview.packets)
        self.whole[frame.number] = psnr(picture, decoded.image)
        preview.holes = decoded.missing.spans
        self._busy = preview.ready = max(frame.taken, self._busy) + need.cost.seconds
        self.previews[frame.number] = preview
        self._encoded.append(preview)
        self._kept[frame.number] = preview.size
        self.kept_peak = max(self.kept_peak, sum(self._kept.values()))

    def _sample(self, time: float) -> Sample:
        self.ground.look(self.previews)
        heard = self.ground.heard
        return Sample(
            time,
            len(heard),
            sum(p.coarse is not None for p in heard.values()),
            sum(p.complete is not None for p in heard.values()),
            {number: p.psnr for number, p in sorted(heard.items()) if p.psnr is not None},
        )

    def _ask(self, log: PassLog) -> None:
        """The ground's telecommands, and what the board queues again. They get through."""
        request = self.ground.ask()
        log.asked_maps += len(request.maps)
        log.asked_pictures += len(request.unheard)
        log.asked_bytes += request.bytes
        wanted = {n: list(range(len(self.previews[n].packets))) for n in request.unheard if n in self.previews}
        for data in request.maps:
            parsed = parse_map(data)
            wanted[parsed.picture_id] = self.previews[parsed.picture_id].holding(parsed)
        for number, indices in wanted.items():
            log.again += self.queue.add(self.previews[number], [i for i in indices if (number, i) in self._sent])
        self.queue_peak = max(self.queue_peak, self.queue.bytes)
        for number in request.done:
            self._kept[number] = 0
