"""A receiver for the file-receiver interface of gr-satellites: its `ImageReceiver` rewrites a picture as it grows.

gr-satellites looks a receiver up by name in its package `satellites.filereceiver`. In a flowgraph or a decoder script:

    import satellites.filereceiver
    from onboard.ground.grsatellites import receiver_class

    satellites.filereceiver.onboard_preview = receiver_class(satellites.filereceiver.ImageReceiver)

A satellite's YAML file then names `onboard_preview` as the receiver of its `files` data. Chunks are packets, in any
order, with or without CCSDS or AX.25 headers around them; several pictures may be mixed. What the base class is asked
for is `__init__(path, verbose, display, fullscreen)`, `_path`, `_files`, `_feh` and `_log`.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from onboard.errors import OnboardError
from onboard.ground.pictures import Store, decode_picture
from onboard.image_io import encode_picture, write_bytes
from onboard.unframe import strip_ax25, unframe
from onboard.wire import Description


def receiver_class(image_receiver: type) -> type:
    """A receiver of onboard-compress packets, on the base class that gr-satellites brings."""

    class PreviewReceiver(image_receiver):
        """Collects packets and rewrites each picture whenever one of its packets comes."""

        def __init__(self, path: str | Path, verbose: bool = False, display: bool = False, fullscreen: bool = True):
            super().__init__(path, verbose, display, fullscreen)
            self._name = "onboard-preview"
            self._store = Store()

        def filename(self, fid: Any) -> str:
            return f"{fid}.png"

        def push_chunk(self, chunk: bytes) -> None:
            """Take one frame's bytes; nothing that comes over the air raises."""
            before = self._counts()
            report = self._store.add(unframe(strip_ax25(bytes(chunk))))
            if not report.packets:
                self._log(f"{len(chunk)} bytes without a usable packet")
            for description, count in self._counts().items():
                if before.get(description) != count:
                    self._draw(description)

        def on_completion(self, f: Any) -> None:
            """Called with the picture's file once all of its blocks have come."""

        def _counts(self) -> dict[Description, int]:
            return {
                d: len(self._store.pictures.get(d, ())) + len(self._store.parity.get(d, ()))
                for d in {**self._store.pictures, **self._store.parity}
            }

        def _draw(self, description: Description) -> None:
            fid = f"{description.picture_id}-{description.tag:04x}"
            try:
                if description not in self._store.descriptions():
                    return  # parity packets alone, and too few
                decoded = decode_picture(self._store, description)
                f = self._files.setdefault(fid, SimpleNamespace(path=self._path / self.filename(fid), displaying=False))
                write_bytes(str(f.path), encode_picture(str(f.path), decoded.image, {}))
            except OnboardError as e:
                self._log(str(e))
                return
            self._log(f"{f.path.name}: {100 * decoded.report['received']:.1f} % received")
            if self._feh is not None and not f.displaying:
                f.displaying = True
                self._feh.open(f.path)
            if decoded.complete:
                self.on_completion(f)

    return PreviewReceiver
