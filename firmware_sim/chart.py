"""A flight as a picture: queue, pictures on the ground and their PSNR, over the time in contact."""

from __future__ import annotations

import io
import warnings

from firmware_sim.flight import Flight, PassLog

MISSING = "no chart: matplotlib is not installed; pip install 'onboard-compress[bench]'"


def available() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def shown_seconds(log: PassLog) -> float:
    """How much of a pass the chart shows: until a little after the last packet, and a twentieth at least."""
    busy = max((s.time - log.contact.start for s in log.sent), default=0.0)
    return min(1.05 * busy + log.contact.seconds / 20, log.contact.seconds)


def chart(flight: Flight) -> bytes:
    """PNG. Gaps between passes and the idle ends of passes are left out: a few packets in a long one would be a sliver.

    Each pass is labelled with its beginning and length.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    FigureCanvasAgg(figure)
    queue, counts, quality = figure.subplots(3, 1, sharex=True)
    base = 0.0
    times: list[float] = []
    shown: dict[str, list[float]] = {"seen": [], "with all of layer 0": [], "complete": []}
    lines: dict[int, tuple[list[float], list[float]]] = {}
    mean: list[float] = []
    for number, log in enumerate(flight.passes):
        shift, seconds = base - log.contact.start, shown_seconds(log)
        x = [base, *(s.time + shift for s in log.sent)]
        y = [log.queue_before / 1000, *(s.queue / 1000 for s in log.sent)]
        queue.step([*x, base + seconds], [*y, y[-1]], where="post", color="tab:blue")
        for axis in (queue, counts, quality):
            axis.axvspan(base, base + seconds, color="0.95" if number % 2 else "0.9", zorder=0)
        queue.annotate(
            f"pass {number + 1}\nfrom {log.contact.start:g} s\nof {log.contact.seconds:g} s",
            (base, 0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=8,
        )
        for s in log.samples:
            times.append(s.time + shift)
            for values, count in zip(shown.values(), (s.seen, s.coarse, s.complete), strict=True):
                values.append(count)
            mean.append(sum(s.psnr.values()) / max(len(s.psnr), 1))
            for picture, value in s.psnr.items():
                line = lines.setdefault(picture, ([], []))
                line[0].append(s.time + shift)
                line[1].append(value)
        base += seconds
    for label, values in shown.items():
        counts.step(times, values, where="post", label=label)
    for line in lines.values():
        quality.plot(*line, color="0.6", linewidth=0.7)
    if mean:
        quality.plot(times, mean, color="tab:red", marker="o", markersize=3, label="mean of those seen")
        quality.legend(fontsize=8, loc="lower right")
    counts.axhline(len(flight.previews), color="0.4", linestyle=":", label="encoded")
    counts.legend(fontsize=8, loc="lower right")
    counts.set_ylim(bottom=0)
    queue.set_ylim(bottom=0)
    queue.set_xlim(0, base)
    queue.set_ylabel("queue, kB")
    counts.set_ylabel("pictures on the ground")
    quality.set_ylabel("PSNR, dB")
    quality.set_xlabel("time in contact, s (without gaps between passes and what is idle at their ends)")
    figure.suptitle(f"{flight.setup.name}: {len(flight.previews)} pictures, {len(flight.passes)} passes")
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts
        figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
