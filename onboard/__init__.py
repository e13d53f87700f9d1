"""onboard-compress: previews of a few hundred bytes, as packets of which any subset makes a picture.

The public API is `compress`, `refine`, `decompress` and `describe`; everything else may change between versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onboard import expect as _expect
from onboard.airtime import check_framing
from onboard.arguments import (
    BYTES,
    DEFAULT_BPP,
    budget_of,
    check_quality,
    expected_of,
    extensions_of,
    folder_of,
    id_of,
    interleave_log2_of,
    joined,
    model_of,
    models_of,
    packet_size_of,
    percentages_of,
    protection_of,
    regions_of,
    scale_log2_of,
    whole,
    window_of,
)
from onboard.encoder import content_crc
from onboard.erasure import Protection, spread
from onboard.errors import (
    BudgetError,
    InputError,
    ModelError,
    NothingDecodableError,
    OnboardError,
    UnknownModelError,
)
from onboard.job import FINER_MARGIN, Job
from onboard.layer_header import FIRST_REFINEMENT
from onboard.model import Model, find_model
from onboard.options import VERSION as __version__
from onboard.planes import check_picture
from onboard.scan import scan_usable
from onboard.stream_parity import Group
from onboard.wire import (
    BLOCK,
    LOSSLESS_QUALITY,
    MAX_PACKET,
    MAX_QUALITY,
    Colour,
    Description,
    Kind,
    index_of,
    quality_of,
)

if TYPE_CHECKING:
    from onboard.ground import Decoded

__all__ = [
    "DEFAULT_BPP",
    "MAX_PACKET",
    "BudgetError",
    "InputError",
    "ModelError",
    "NothingDecodableError",
    "OnboardError",
    "UnknownModelError",
    "__version__",
    "compress",
    "compress_stream",
    "decompress",
    "describe",
    "refine",
]


def compress(
    picture: np.ndarray,
    *,
    budget: int | None = None,
    bpp: float | None = None,
    quality: float | None = None,
    lossless: bool = False,
    scale: int | Literal["auto"] | None = None,
    packet_size: int = MAX_PACKET,
    interleave: Literal[1, 2, 4] | None = None,
    parity: tuple[float, float] | Protection | None = None,
    order: Literal["layers", "spread"] | None = None,
    expect_loss: float = 0.0,
    expect_burst: float = 1.0,
    overhead: int = 0,
    gray: bool = False,
    image_id: int | None = None,
    tag: int | None = None,
    window: tuple[int, int] | None = None,
    curve: Literal["linear", "sqrt"] = "linear",
    no_data: bool | None = None,
    source_id: str | None = None,
    capture_time_ms: int | None = None,
    metadata: str | None = None,
    model: Model | str | PathLike[str] | None = None,
) -> bytes:
    """Code a picture into packets of which any subset makes a picture; the result is the packets, one after another.

    Args:
        picture: uint8 or uint16, (height, width) or (height, width, 3), sides 1 to 65535; an array or a memory map.
        budget: most bytes of the whole stream, from the smallest preview up: layers are added where they help. At most
            one of budget, bpp and quality may be given.
        bpp: the same in bits per pixel of the full-size picture; 0.1 when nothing is given, but what the smallest
            stream needs, and 64 bytes, at least.
        quality: 0 (coarsest) to 200 (lossless), halves count, instead of a size: up to 100 a preview of the two base
            layers, from there on a refinement that is better than the finest preview.
        lossless: every sample exactly, behind a preview of which quality and scale may be given.
        scale: 1, 2, 4, ... 128: code the picture at that fraction of its size; "auto" (the default with a size)
            chooses, with a quality the default is 1.
        packet_size: most bytes of a packet, 48 to 65535, header included.
        interleave: 1, 2 or 4: spread neighbouring blocks over that many runs of packets. By default as an expected loss
            asks for; else 4 where a size is given in four or more packets of at most 2048 bytes, and 1 elsewhere.
        parity: erasure packets in percent of the source packets, for layer 0 and for the layers above, or a Protection;
            they count towards the size. Any k packets of a group with k source packets restore it.
        order: send packets in "layers", coarse to fine (the default unless losses in bursts are expected), or "spread",
            so that a burst takes little of layer 0.
        expect_loss, expect_burst: fraction of packets that will get lost, and how many in a row in the mean: chooses
            interleave, parity and order where they are not given.
        overhead: bytes that framing adds to every packet; they count towards the size.
        gray: code the luma of a colour picture only.
        image_id: which picture this is, 0 to 65535; by default derived from the content.
        tag: which encoding of it, 0 to 65535; by default derived from content and parameters.
        window: (low, high) samples of a uint16 picture that map to black and white; by default the 0.1 and 99.9
            percentiles.
        curve: transfer curve of a uint16 picture.
        no_data: whether 0 in a uint16 picture means "no data"; by default when more than 1 % of it is 0.
        source_id: call sign or source id, ASCII; source_id, capture_time_ms (since 1970 UTC) and metadata (free text)
            are put in every packet.
        model: a model or its file; the shipped one by default.

    Raises:
        InputError: unusable picture or options. BudgetError: no stream is that small; it names the smallest.
        ModelError: an unusable file of a model.
    """
    check_picture(picture)
    packet_size = packet_size_of(packet_size)
    check_framing(packet_size, overhead := whole("overhead", overhead, BYTES), None)
    if sum(x is not None for x in (budget, bpp, quality)) > 1:
        raise InputError("give one of budget, bpp and quality, not several")
    check_quality(quality, LOSSLESS_QUALITY)
    if quality == LOSSLESS_QUALITY:
        lossless, quality = True, None
    if lossless and (budget is not None or bpp is not None):
        raise InputError("a lossless stream has the size that it needs: give no budget")
    if quality is None and not lossless:
        by_default = budget is None and bpp is None
        budget = budget_of(picture.shape[0] * picture.shape[1], budget, bpp)
    plan = _expect.plan(*expected_of(expect_loss, expect_burst))
    if interleave is None:
        interleave = plan.interleave if expect_loss else _expect.usual_interleave(budget, packet_size)
    interleave_log2 = interleave_log2_of(interleave)
    tag = None if tag is None else id_of("tag", tag)
    if scale is None and not lossless:
        scale = 1 if quality is not None else "auto"
    known = model_of(model)
    content = content_crc(picture)
    base = Description(
        picture_id=content & 0xFFFF if image_id is None else id_of("image id", image_id),
        tag=0,
        model_id=known.model_id,
        width=picture.shape[1],
        height=picture.shape[0],
        interleave_log2=interleave_log2,
        colour=Colour.GREY if gray or picture.ndim == 2 else Colour.YCBCR420,
        window=window_of(picture, window, curve, no_data),
    )
    extensions = extensions_of(source_id, capture_time_ms, metadata)
    protection = protection_of(parity, plan.protection)
    order = order or plan.order
    if order not in ("layers", "spread"):
        raise InputError(f"order {order!r}: must be layers or spread")
    if lossless and (protection or order == "spread"):
        raise InputError("erasure packets and the spread order are for previews: not with a lossless stream")
    arrange: Callable[[list[bytes]], list[bytes]] = spread if order == "spread" else list
    margin = FINER_MARGIN if quality is None and not lossless else 0
    job = Job(picture, base, known, packet_size, extensions, tag, protection, overhead, margin)
    if scale == "auto" and (quality is not None or lossless):
        raise InputError('scale "auto" needs a budget or bits per pixel')
    fixed = None if scale is None or scale == "auto" else scale_log2_of(scale)
    if quality is not None and quality <= MAX_QUALITY and not lossless:
        return b"".join(arrange(job.packets(fixed or 0, index_of(quality))))
    from onboard import progressive

    if lossless:
        return b"".join(progressive.lossless(job, None if quality is None else index_of(quality), fixed))
    if quality is not None:
        if fixed:
            raise InputError(f"quality {quality}: above {MAX_QUALITY} there is scale 1 only")
        return b"".join(arrange(progressive.at_quality(job, quality)))
    assert budget is not None
    try:
        packets = progressive.fit(job, budget, fixed)
    except BudgetError as e:
        if not by_default:
            raise
        packets = progressive.fit(job, e.smallest, fixed)
    return b"".join(arrange(packets))


def refine(
    picture: np.ndarray,
    base: bytes | Iterable[bytes],
    *,
    budget: int | None = None,
    bpp: float | None = None,
    regions: Sequence[tuple[int, int, int, int]] = (),
    lossless: bool = False,
    packet_size: int = MAX_PACKET,
    source_id: str | None = None,
    capture_time_ms: int | None = None,
    metadata: str | None = None,
    model: Model | str | PathLike[str] | None = None,
) -> bytes:
    """Code what makes the picture better than what has been sent of it: additional packets only.

    Args:
        picture: the picture that the base was made of; an array or a memory map of which only the regions are read.
        base: all packets that have been sent of it: one run of bytes or several.
        budget: most bytes of the additional packets.
        bpp: the same in bits per pixel of what is asked for.
        regions: (x, y, width, height) in samples; the whole picture by default.
        lossless: every sample of what is asked for exactly, instead of a size.
        packet_size, source_id, capture_time_ms, metadata, model: as in compress().

    Returns:
        the packets; none, b"", where every sample that is asked for has been sent exactly.

    Raises:
        InputError: unusable picture, base or options. BudgetError: no refinement is that small.
        NothingDecodableError: no packet in the base. UnknownModelError, ModelError: nor the model that it names.
    """
    from onboard.decoder import Decoding
    from onboard.request import Request

    check_picture(picture)
    packet_size = packet_size_of(packet_size)
    packets = scan_usable(joined(base))[0]
    d = packets[0].description
    if any(p.description != d for p in packets):
        raise InputError("the base has packets of several pictures")
    decoding = Decoding(
        d, find_model(d.model_id, {} if model is None else {(given := model_of(model)).model_id: given})
    )
    decoding.add(packets)
    if not decoding.planes[0].has_first.any():
        raise InputError("the base has no layer 0: give all that has been sent, the preview first of all")
    extensions = extensions_of(source_id, capture_time_ms, metadata)
    request = Request(picture, decoding, decoding.planes[0].usual_index(), regions_of(regions), packet_size, extensions)
    if lossless:
        if budget is not None or bpp is not None:
            raise InputError("a lossless stream has the size that it needs: give no budget")
        return b"".join(request.lossless())
    if (budget is None) == (bpp is None):
        raise InputError("a refinement needs a budget or bits per pixel, or must be lossless")
    pixels = BLOCK * BLOCK * int(request.wanted().sum())
    return b"".join(request.refine(budget_of(pixels, budget, bpp)))


def compress_stream(
    picture: np.ndarray,
    *,
    budget: int | None = None,
    quality: float | None = None,
    scale: Literal[1, 2, 4] = 1,
    packet_size: int = MAX_PACKET,
    interleave: Literal[1, 2, 4] | None = None,
    parity: tuple[float, float] = (0, 0),
    expect_loss: float = 0.0,
    expect_burst: float = 1.0,
    gray: bool = False,
    image_id: int = 0,
    tag: int = 0,
    model: Model | str | PathLike[str] | None = None,
) -> Iterator[bytes]:
    """Code a picture in one pass, as the microcontroller's encoder does, byte for byte: packets in emission order.

    Args:
        picture: uint8, (height, width) or (height, width, 3), sides 1 to 65535.
        budget: most bytes of the stream, which comes close to it from below.
        quality: 0 (coarsest) to 100 (finest), halves count. One of budget and quality must be given.
        scale, packet_size, gray, model: as for compress().
        interleave: 1, 2 or 4; by default as an expected loss asks for, else 1.
        parity: erasure packets in percent of the source packets, for layer 0 and for layer 1: two parity packets (more
            above 100 %) for each group of so many source packets, or of fewer when the quantiser index changes.
        expect_loss, expect_burst: as for compress(), but that parity is sent only when it is asked for: in one pass
            it costs more than it saves.
        image_id, tag: which picture this is and which encoding of it, 0 to 65535: nothing can be derived from content
            that is still to come.

    Raises:
        InputError: unusable picture or options. ModelError: an unusable file of a model.
    """
    from onboard.stream import stream

    check_picture(picture)
    if (budget is None) == (quality is None):
        raise InputError("a stream needs a budget or a quality, and not both")
    check_quality(quality, MAX_QUALITY)
    plan = _expect.stream_plan(*expected_of(expect_loss, expect_burst))
    first, rest = percentages_of(parity)
    known = model_of(model)
    description = Description(
        picture_id=id_of("image id", image_id),
        tag=id_of("tag", tag),
        model_id=known.model_id,
        width=picture.shape[1],
        height=picture.shape[0],
        scale_log2=scale_log2_of(scale),
        interleave_log2=interleave_log2_of(interleave or plan.interleave),
        colour=Colour.GREY if gray or picture.ndim == 2 else Colour.YCBCR420,
    )
    return stream(
        picture,
        description,
        known,
        packet_size=packet_size_of(packet_size),
        index=0 if quality is None else index_of(quality),
        quota=None if budget is None else whole("budget", budget, BYTES),
        groups=(Group.percent(first), Group.percent(rest)),
    )


def decompress(
    data: bytes | Iterable[bytes],
    *,
    enhance: str = "auto",
    max_pixels: int | None = None,
    models: Model | str | PathLike[str] | Iterable[Model | str | PathLike[str]] = (),
    nets: str | PathLike[str] | None = None,
) -> Decoded:
    """The best picture that packets allow.

    Args:
        data: packets in any order, with duplicates: one run of bytes or several.
        enhance: "plain" (the normative decoder), "linear" (neighbour-aware), "small" (neural, needs LiteRT), or "auto":
            small where it can be run, else linear, else plain; the report says which and why.
        max_pixels: refuse pictures of more pixels; 2^28 by default.
        models: a model or several, or their files, to know beside the shipped ones.
        nets: a folder of `onboard-train export-nets` to look in before the shipped nets.

    Returns:
        Decoded with `image`, `mask` and `report`.

    Raises:
        NothingDecodableError, UnknownModelError, ModelError, InputError (also for packets of several pictures: see
        onboard.ground).
    """
    from onboard import ground

    if max_pixels is not None:
        max_pixels = whole("max_pixels", max_pixels, "a whole number")
    known, folder = models_of(models), folder_of(nets)
    return ground.decode_one(data, enhance=enhance, max_pixels=max_pixels, models=known, nets=folder)


def describe(data: bytes | Iterable[bytes]) -> dict[str, Any]:
    """What packets say of themselves, without decoding them: sizes, ids, scale and quality, ready for JSON.

    They are given as one run of bytes or several. `refinements` are the layers above the preview: 2 to 14, and 15 which
    is lossless. `quality` is the preview's.

    Raises NothingDecodableError, InputError.
    """
    data = joined(data)
    packets, report = scan_usable(data)
    d = packets[0].description
    layers: dict[str, int] = {}
    for p in packets:
        for s in p.sections:
            layers[str(s.layer)] = layers.get(str(s.layer), 0) + len(s.payload)
        if p.kind == Kind.PARITY:
            layers["parity"] = layers.get("parity", 0) + len(p.body)
    layers = {name: layers[name] for name in sorted(layers, key=lambda name: (len(name), name))}
    return {
        "bytes": len(data),
        "packets": len(packets),
        "layer_bytes": {**layers, "headers": len(data) - report.skipped_bytes - sum(layers.values())},
        "refinements": sorted(n for n in map(int, filter(str.isdigit, layers)) if n >= FIRST_REFINEMENT),
        "bpp": round(8 * len(data) / (d.width * d.height), 5),
        "width": d.width,
        "height": d.height,
        "colour": d.colour.name.lower(),
        "scale": d.scale,
        "interleave": d.interleave,
        "quality": quality_of(packets[0].index),
        "picture_id": d.picture_id,
        "tag": d.tag,
        "model": f"{d.model_id:04x}",
    }
