"""The one table of errors. Every message names what is wrong and what would be right, in one line."""

from __future__ import annotations


class OnboardError(Exception):
    """Base of everything this package raises on purpose. Commands turn it into one line and exit status 2."""


class InputError(OnboardError):
    """A picture, file or option that cannot be used: wrong dtype, shape, size or value."""


class BudgetError(OnboardError):
    """The byte budget is below the smallest possible stream.

    Attributes:
        budget: bytes asked for.
        smallest: bytes of the smallest stream that the same options can make.
    """

    def __init__(self, budget: int, smallest: int) -> None:
        super().__init__(
            f"a budget of {budget} bytes is too small: the smallest stream with these options has {smallest} bytes"
        )
        self.budget = budget
        self.smallest = smallest


class ModelError(OnboardError):
    """A model file that is truncated, corrupt or inconsistent."""


class UnknownModelError(OnboardError):
    """A packet names a model that is not at hand.

    Attributes:
        wanted: the 16-bit model id in the packet.
        known: the ids at hand.
    """

    def __init__(self, wanted: int, known: list[int]) -> None:
        names = ", ".join(f"{k:04x}" for k in sorted(known)) or "none"
        super().__init__(f"model {wanted:04x} is not at hand (known: {names}); give its file with --model")
        self.wanted = wanted
        self.known = known


class PacketError(OnboardError):
    """Bytes that are not a packet of this format.

    Attributes:
        offset: byte offset at which the packet was expected.
        why: what is wrong.
        end: where a packet whose checksum is right but whose fields are unknown ends; None when there is no packet.
    """

    def __init__(self, offset: int, why: str, end: int | None = None) -> None:
        super().__init__(f"no packet at byte {offset}: {why}")
        self.offset = offset
        self.why = why
        self.end = end


class VersionError(PacketError):
    """A whole packet of a format version this decoder does not know. Such packets are refused, never guessed at."""


class NothingDecodableError(OnboardError):
    """No packet in the input could be used."""


class SectionError(OnboardError):
    """A section whose symbols do not parse. Carries the kernel's status.

    Attributes:
        status: negative status of the parsing kernel.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"section is malformed: {SECTION_STATUS.get(status, f'status {status}')}")
        self.status = status


SECTION_STATUS = {
    -1: "a code word that the table does not have",
    -2: "symbols run past the end of the section",
    -3: "a latent outside its range",
    -4: "symbols for more blocks than the plane has",
}
