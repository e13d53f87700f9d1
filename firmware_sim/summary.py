"""The figures of a flight, as plain values and as text."""

from __future__ import annotations

from typing import Any

from firmware_sim.devices import COMPUTER
from firmware_sim.energy import jpeg, jpeg_on_air
from firmware_sim.flight import Flight, PassLog


def summary(flight: Flight) -> dict[str, Any]:
    """What a mission's engineer asks for, ready for JSON: times in seconds, energy in joules, PSNR in dB."""
    heard = flight.ground.heard
    previews = list(flight.previews.values())
    count = max(len(previews), 1)
    encoding = sum(p.need.cost.joules for p in previews)
    sending = sum(log.joules for log in flight.passes)
    seen = [p.psnr for p in heard.values() if p.psnr is not None]
    return {
        "name": flight.setup.name,
        "device": flight.setup.device.key,
        "device_name": flight.setup.device.name,
        "encoder": _encoder(flight),
        "frames": len(previews) + len(flight.refused),
        "encoded": len(previews),
        "refused": [{"frame": r.frame.number, "name": r.frame.name, "why": r.why} for r in flight.refused],
        "bytes": sum(p.size for p in previews),
        "packets": sum(len(p.packets) for p in previews),
        "ram": max((p.need.ram for p in previews), default=0),
        "flash": max((p.need.flash for p in previews), default=0),
        "encoding_s": _rounded(sum(p.need.cost.seconds for p in previews) / count, 6),
        "queue_peak": flight.queue_peak,
        "kept_peak": flight.kept_peak,
        "seen": len(heard),
        "coarse": sum(p.coarse is not None for p in heard.values()),
        "complete": sum(p.complete is not None for p in heard.values()),
        "first_coarse_s": _first([p.coarse for p in heard.values()]),
        "all_coarse_s": _last([p.coarse for p in heard.values()], len(previews)),
        "first_complete_s": _first([p.complete for p in heard.values()]),
        "all_complete_s": _last([p.complete for p in heard.values()], len(previews)),
        "psnr_mean": _mean(seen),
        "psnr_worst": _rounded(min(seen), 2) if seen else None,
        "psnr_had_all_come": _mean(list(flight.whole.values())),
        "encoding_j": _rounded(encoding, 6),
        "sending_j": _rounded(sending, 4),
        "joules_per_picture": _rounded((encoding + sending) / count, 4),
        "jpeg": _jpeg(flight),
        "passes": [_pass(flight, number) for number in range(len(flight.passes))],
    }


def _encoder(flight: Flight) -> str:
    if flight.setup.device.kind == COMPUTER:
        return "Python encoder"
    return "C encoder" if flight.board.builds.compiler else "single-pass encoder in Python (no C compiler: same bytes)"


def _pass(flight: Flight, number: int) -> dict[str, Any]:
    log = flight.passes[number]
    last = log.samples[-1] if log.samples else None
    before = _last_sample(flight.passes[:number])
    state = last or before
    return {
        "start": log.contact.start,
        "seconds": log.contact.seconds,
        "bitrate": log.contact.bitrate,
        "queue_before": log.queue_before,
        "sent": len(log.sent),
        "bytes_sent": log.bytes_sent,
        "intact": sum(s.intact for s in log.sent),
        "bytes_intact": log.bytes_intact,
        "on_air_s": _rounded(sum(8 * (s.size + log.contact.link.overhead) for s in log.sent) / log.contact.bitrate, 3),
        "queue_after": log.queue_after,
        "asked_maps": log.asked_maps,
        "asked_pictures": log.asked_pictures,
        "asked_bytes": log.asked_bytes,
        "again": log.again,
        "seen": state.seen if state else 0,
        "coarse": state.coarse if state else 0,
        "complete": state.complete if state else 0,
        "completed_here": (state.complete if state else 0) - (before.complete if before else 0),
        "psnr_mean": _mean(list(state.psnr.values())) if state else None,
        "joules": _rounded(log.joules, 4),
    }


def _last_sample(passes: list[PassLog]) -> Any:
    return next((log.samples[-1] for log in reversed(passes) if log.samples), None)


def _jpeg(flight: Flight) -> dict[str, Any]:
    """The same frames as JPEG files over the same radio: what they take, and how many the passes would carry."""
    radio, contacts = flight.mission.radio, flight.mission.contacts
    made = [jpeg(p.original(), flight.mission.jpeg) for p in flight.previews.values()]
    files = [jpeg_on_air(size, radio, contacts[0].bitrate) for size, _ in made]
    left = sum(c.seconds * c.bitrate for c in contacts)  # as if a file could go on in the next pass
    carried = 0
    for f in files:
        left -= f.seconds * contacts[0].bitrate
        carried += left >= 0
    return {
        "quality": flight.mission.jpeg,
        "bytes": sum(size for size, _ in made),
        "psnr_mean": _mean([quality for _, quality in made]),
        "on_air_s": _rounded(sum(f.seconds for f in files), 3),
        "joules": _rounded(sum(f.joules for f in files), 4),
        "carried": carried,
    }


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits)


def _mean(values: list[float]) -> float | None:
    return _rounded(sum(values) / len(values), 2) if values else None


def _first(times: list[float | None]) -> float | None:
    found = [t for t in times if t is not None]
    return _rounded(min(found), 3) if found else None


def _last(times: list[float | None], wanted: int) -> float | None:
    """When the last of so many came; None while one is missing."""
    found = [t for t in times if t is not None]
    return _rounded(max(found), 3) if found and len(found) == wanted else None


def text(s: dict[str, Any]) -> str:
    """The summary table of one setup."""
    count = max(s["encoded"], 1)
    other, passes = s["jpeg"], s["passes"]
    previews_j = s["encoding_j"] + s["sending_j"]
    times = other["joules"] / previews_j if previews_j else 0.0
    lines = [
        f"{s['name']}: {s['device_name']}, {s['encoder']}, {s['frames']} frames, {s['encoded']} encoded, "
        f"{len(s['refused'])} refused",
        f"  a picture: {s['bytes'] / count:.0f} bytes in {s['packets'] / count:.1f} packets; estimated "
        f"{1000 * s['encoding_s']:.3g} ms and {1000 * s['encoding_j'] / count:.3g} mJ; RAM {s['ram']}, flash "
        f"{s['flash']} bytes",
        f"  on the ground: {s['seen']} seen, {s['coarse']} with all of layer 0, {s['complete']} complete "
        f"({', '.join(str(p['completed_here']) for p in passes)} by pass)",
        f"  PSNR: {_db(s['psnr_mean'])} in the mean of those seen, {_db(s['psnr_worst'])} at worst; "
        f"{_db(s['psnr_had_all_come'])} in the mean had all come",
        f"  all of layer 0: first picture {_at(s['first_coarse_s'])}, last {_at(s['all_coarse_s'])}; "
        f"complete: first {_at(s['first_complete_s'])}, last {_at(s['all_complete_s'])}",
        f"  energy: encoding {s['encoding_j']:.3g} J, sending {s['sending_j']:.4g} J, "
        f"{s['joules_per_picture']:.3g} J a picture; queue at most {s['queue_peak']} bytes, {s['kept_peak']} kept",
        f"  as JPEG of quality {other['quality']}: {other['bytes'] / count:.0f} bytes a picture "
        f"({_db(other['psnr_mean'])}), sending {other['joules']:.4g} J, {times:.2f} times as much; the passes carry "
        f"{other['carried']} of {s['encoded']} if nothing is lost",
    ]
    lines += [f"  refused: frame {r['frame']} ({r['name']}): {r['why']}" for r in s["refused"]]
    lines.append(
        "  pass     start  seconds   bit/s    queue   sent    bytes intact    bytes  maps again"
        "    queue coarse complete   PSNR        J"
    )
    for i, p in enumerate(passes, 1):
        lines.append(
            f"  {i:4d} {p['start']:9.1f} {p['seconds']:8.1f} {p['bitrate']:7.0f} {p['queue_before']:8d} {p['sent']:6d} "
            f"{p['bytes_sent']:8d} {p['intact']:6d} {p['bytes_intact']:8d} {p['asked_maps'] + p['asked_pictures']:5d} "
            f"{p['again']:5d} {p['queue_after']:8d} {p['coarse']:6d} {p['complete']:8d} "
            f"{'-' if p['psnr_mean'] is None else format(p['psnr_mean'], '.2f'):>6s} {p['joules']:8.2f}"
        )
    return "\n".join(lines)


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} dB"


def _at(value: float | None) -> str:
    return "never" if value is None else f"at {value:.1f} s"
