"""The worked examples of FORMAT.md, executed: their hex decodes, by the code and by the twin, to what the page says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import onboard
from tests import reference
from tests.make_examples import FORMAT, colour_packet, example, two_packets


def blocks_of(name: str) -> tuple[list[bytes], np.ndarray]:
    """The packets of an example and the corner of the picture that it shows."""
    text = FORMAT.read_text().split(f"<!-- example: {name} -->")[1].split("\n##")[0]
    packets = [bytes.fromhex(h) for h in re.findall(r"Packet \d+, \d+ bytes:\n\n```\n(.*?)```", text, re.S)]
    corner = re.findall(r"```\n(.*?)\n```", text, re.S)[-1]
    return packets, np.array([[int(v) for v in line.split()] for line in corner.splitlines()])


@pytest.mark.parametrize("name, packets", [("grey", 2), ("rgb", 1)])
def test_the_hex_decodes_to_the_picture_that_the_page_shows(name: str, packets: int) -> None:
    data, corner = blocks_of(name)
    assert len(data) == packets
    image = onboard.decompress(data, enhance="plain").image
    shown = image[:4, :12] if image.ndim == 2 else image[:2, :4].reshape(2, -1)
    assert np.array_equal(shown, corner)
    assert np.array_equal(reference.decode_picture(data), image)


def test_the_page_says_what_the_encoder_makes() -> None:
    text = FORMAT.read_text()
    assert example(two_packets()).strip() in text
    assert example(colour_packet()).strip() in text
