"""The worked examples of FORMAT.md, executed: their hex decodes, by the code and by the twin, to what the page says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import onboard
from onboard.missing import parse_map
from onboard.scan import scan
from tests import reference
from tests import reference_layers as twin
from tests.make_examples import FORMAT, bar, examples


def page(name: str) -> tuple[list[bytes], list[list[list[int]]]]:
    """The packets of an example, and the numbers in its other boxes."""
    text = FORMAT.read_text().split(f"<!-- example: {name} -->")[1].split("\n##")[0]
    box = r"```\n(.*?)\n```"
    packets = [bytes.fromhex(h) for h in re.findall(rf"Packet \d+, \d+ bytes:\n\n{box}", text, re.S)]
    return packets, [[[int(v) for v in line.split()] for line in b.splitlines()] for b in found_after(text, box)]


def found_after(text: str, box: str) -> list[str]:
    """The boxes that hold no packet."""
    return [b for b in re.findall(box, text, re.S) if not re.match(r"[0-9A-F]{2} [0-9A-F]{2} ", b)]


@pytest.mark.parametrize("name, packets", [("grey", 2), ("rgb", 1)])
def test_the_hex_decodes_to_the_picture_that_the_page_shows(name: str, packets: int) -> None:
    data, boxes = page(name)
    assert len(data) == packets
    image = onboard.decompress(data, enhance="plain").image
    shown = image[:4, :12] if image.ndim == 2 else image[:2, :4].reshape(2, -1)
    assert shown.tolist() == boxes[-1]
    assert np.array_equal(reference.decode_picture(data), image)


def test_the_hex_of_higher_layers_decodes_to_what_the_page_shows() -> None:
    data, (coefficients, *pictures) = page("layers")
    for count, picture in enumerate(pictures, 1):
        assert onboard.decompress(data[:count], enhance="plain").image.tolist() == picture
    # the same by the twin
    refinement, exact = (reference.read_packet(p).sections[0].payload for p in data[1:])
    sets, exact_sets = twin.shipped_tables()
    assert (refinement[0] >> 4, exact[0], exact[1:4]) == (1, 0xF9, b"\0\1\0")
    found = twin.parse_refinement(refinement[2:], 1, 2, 0, sets[refinement[0] & 7])
    assert found is not None
    assert [q[: len(line)] for q, line in zip(found, coefficients, strict=True)] == coefficients
    expected = reference.decode_picture(data[:1]).astype(int)
    assert expected.tolist() == pictures[0]
    for block, q in enumerate(found):
        expected[:, 8 * block : 8 * block + 8] += twin.residual(q, twin.layer_step(refinement[1]), 8)
    assert np.clip(expected, 0, 255).tolist() == pictures[1]
    blocks = twin.parse_lossless(exact[4:], 8, 1, 1, True, 0, exact_sets[1])
    assert blocks is not None
    assert [line[8:] for line in pictures[2]] == blocks[0] == bar(8, 16)[:, 8:].tolist()


def test_the_map_of_the_page_asks_for_layer_0() -> None:
    found = parse_map(bytes.fromhex(FORMAT.read_text().split("<!-- example: map -->")[1].split("```")[1]))
    sent = scan(page("grey")[0][0])[0][0].description
    assert (found.picture_id, found.tag) == (sent.picture_id, sent.tag)
    assert [(r.plane, r.layer, r.phase, r.first, r.end) for r in found.runs(sent)] == [(0, 0, 0, 0, 6)]


def test_the_page_says_what_the_encoder_makes() -> None:
    text = FORMAT.read_text()
    for content in examples().values():
        assert content.strip() in text
