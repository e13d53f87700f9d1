"""The ground half: packets of any number of passes and stations to the best pictures that they allow."""

from __future__ import annotations

from onboard.ground.pictures import Decoded, Store, decode_one, decode_picture

__all__ = ["Decoded", "Store", "decode_one", "decode_picture"]
