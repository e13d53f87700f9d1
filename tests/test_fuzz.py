"""A share of what `python -m tests.fuzz` runs in full."""

from __future__ import annotations

from tests.fuzz import fuzz


def test_ten_thousand_damaged_captures_lose_no_whole_packet_and_never_crash() -> None:
    ended = fuzz(10_000, seed=20261121)
    assert ended["picture"] + ended["nothing"] == 10_000
    assert ended["picture"] > 5000
