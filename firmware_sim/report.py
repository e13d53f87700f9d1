"""What a mission leaves behind: a folder with timeline, chart, pictures and summary, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from firmware_sim import chart
from firmware_sim.flight import Flight
from firmware_sim.summary import summary, text
from onboard.errors import InputError
from onboard.image_io import png_bytes

SUMMARY, TIMELINE, CHART = "summary", "timeline.json", "chart.png"


def timeline(flight: Flight) -> list[dict[str, Any]]:
    """All that happened, by time in seconds."""
    found: list[dict[str, Any]] = []
    for p in flight.previews.values():
        frame = {"t": p.frame.taken, "event": "frame", "picture": p.frame.number, "name": p.frame.name}
        found.append(frame)
        need = {"seconds": round(p.need.cost.seconds, 6), "joules": round(p.need.cost.joules, 9), "ram": p.need.ram}
        packets = {"bytes": p.size, "packets": len(p.packets), "psnr": round(flight.whole[p.frame.number], 3)}
        found.append({"t": round(p.ready, 6), "event": "encoded", "picture": p.frame.number, **need, **packets})
    for r in flight.refused:
        found.append({"t": r.frame.taken, "event": "refused", "picture": r.frame.number, "why": r.why})
    for number, log in enumerate(flight.passes, 1):
        begin = {"t": log.contact.start, "event": "pass", "pass": number, "seconds": log.contact.seconds}
        found.append({**begin, "bitrate": log.contact.bitrate, "queue": log.queue_before})
        for s in log.sent:
            what = {"picture": s.entry.number, "packet": s.entry.place, "layer": s.entry.level, "bytes": s.size}
            found.append({"t": round(s.time, 6), "event": "sent", **what, "intact": s.intact, "queue": s.queue})
        for sample in log.samples:
            sight = {"seen": sample.seen, "coarse": sample.coarse, "complete": sample.complete}
            psnr = {str(n): round(v, 3) for n, v in sample.psnr.items()}
            found.append({"t": round(sample.time, 6), "event": "ground", **sight, "psnr": psnr})
        asked = {"maps": log.asked_maps, "pictures": log.asked_pictures, "bytes": log.asked_bytes, "again": log.again}
        found.append({"t": log.contact.end, "event": "pass ends", "pass": number, "queue": log.queue_after, **asked})
    return sorted(found, key=lambda event: event["t"])


def contents(flight: Flight, figures: dict[str, Any]) -> dict[str, bytes]:
    """The files of one setup, by path."""
    events = ",\n".join(json.dumps(e) for e in timeline(flight))
    found = {TIMELINE: f"[\n{events}\n]\n".encode(), **_summary(figures, text(figures))}
    if chart.available():
        found[CHART] = chart.chart(flight)
    for number, picture in sorted(flight.ground.heard.items()):
        name = f"received/{number:04d}-{flight.previews[number].frame.name}"
        found[f"{name}.obp"] = b"".join(picture.data)
        decoded = flight.ground.decode(number)
        if decoded is not None:
            found[f"{name}.png"] = png_bytes(decoded.image)
    return found


def _summary(figures: Any, table: str) -> dict[str, bytes]:
    return {f"{SUMMARY}.json": (json.dumps(figures, indent=1) + "\n").encode(), f"{SUMMARY}.txt": f"{table}\n".encode()}


def write_report(flights: list[Flight], folder: str) -> tuple[list[dict[str, Any]], str]:
    """Write a report: one setup's right into the folder, several in folders of theirs. Returns figures and table.

    Raises InputError, also when the folder holds anything but an earlier report.
    """
    figures = [summary(f) for f in flights]
    table = "\n\n".join(map(text, figures))
    files: dict[str, bytes] = {}
    if len(flights) == 1:
        files = contents(flights[0], figures[0])
    else:
        files = _summary(figures, table)
        for flight, one in zip(flights, figures, strict=True):
            files |= {f"{flight.setup.name}/{name}": data for name, data in contents(flight, one).items()}
    _write(Path(folder), files)
    return figures, table


def check_folder(folder: str) -> None:
    """Raise InputError unless a report can go there."""
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise InputError(f"{folder}: is a file; give a folder for the report")
    if target.is_dir() and any(target.iterdir()) and not (target / f"{SUMMARY}.json").is_file():
        raise InputError(f"{folder}: holds something that is no report; give another folder")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{folder}: {target.absolute().parent} is no folder")


def _write(target: Path, files: dict[str, bytes]) -> None:
    """Put files into a new folder and move it to its place; an earlier report there goes."""
    check_folder(str(target))
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    except OSError as e:
        raise InputError(f"{target}: {e.strerror or e}") from None
    new, old = fresh / "new", fresh / "old"
    try:
        for name, data in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        if target.is_dir():
            os.rename(target, old)
        os.rename(new, target)
    except OSError as e:
        if old.is_dir():
            os.rename(old, target)
        raise InputError(f"{target}: {e.strerror or e}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
