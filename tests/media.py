"""Real media files whose frames carry their own number, painted so that it survives compression.

The number is a code of 4 x 3 blocks, white for a one and black for a zero, low bit first in
reading order; the last block is always white and gives the scale. Up to 2,048 frames.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

COLUMNS, ROWS = 4, 3
WHITE = 1 << (COLUMNS * ROWS - 1)
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0:b-adapt=0"}
INTRA_REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}
# What makes an encoder keep to the GOP that was asked for.
FIXED_GOP = {"libx264": {"sc_threshold": "0"}, "libx265": {"x265-params": "log-level=none"}}


def paint(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """Return uint8 `[H, W, 3]` that shows `number`; `size` is (width, height)."""
    assert 0 <= number < WHITE
    bits = (number | WHITE) >> np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) & 1
    width, height = size
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    levels = np.where(bits[rows][:, columns], 235, 20).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def read_number(frame: np.ndarray) -> int:
    """Return the number that a frame `[H, W, 3]` shows, whatever its scale and offset."""
    height, width = frame.shape[:2]
    y = (np.arange(ROWS) * 2 + 1) * height // (2 * ROWS)
    x = (np.arange(COLUMNS) * 2 + 1) * width // (2 * COLUMNS)
    levels = frame[y][:, x].mean(axis=-1).reshape(-1)
    bits = levels > (levels.min() + levels[-1]) / 2
    return int((bits << np.arange(ROWS * COLUMNS)).sum()) - WHITE


def read_numbers(frames: np.ndarray) -> np.ndarray:
    """Return the numbers of `[..., H, W, 3]` frames."""
    flat = frames.reshape(-1, *frames.shape[-3:])
    return np.array([read_number(frame) for frame in flat]).reshape(frames.shape[:-3])


def write_video(
    path: Path,
    num_frames: int,
    *,
    codec: str = "libx264",
    gop: int = 12,
    fps: int = 25,
    size: tuple[int, int] = (96, 64),
    rotation: int = 0,
    timestamps: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    muxer_options: Mapping[str, str] | None = None,
) -> Path:
    """Write frames 0, 1, ... to `path`, whose suffix chooses the container.

    `size` is (width, height) as shown. `rotation` (mp4 only) stores the picture turned so that a
    reader has to turn it by as many degrees clockwise. `timestamps` are milliseconds, one per
    frame. `options` go to the encoder.
    """
    quarter_turns = rotation // 90
    stored = size if quarter_turns % 2 == 0 else size[::-1]
    base = Fraction(1, fps) if timestamps is None else Fraction(1, 1000)
    times = range(num_frames) if timestamps is None else timestamps
    merged = {**FIXED_GOP.get(codec, {}), **(options or {})}
    with av.open(str(path), "w", options=dict(muxer_options or {})) as media:
        stream = media.add_stream(codec, rate=fps, options=merged)
        stream.width, stream.height = stored
        stream.pix_fmt, stream.gop_size = pix_fmt, gop
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = base
        for number, time in zip(range(num_frames), times, strict=True):
            pixels = np.ascontiguousarray(np.rot90(paint(number, size), quarter_turns))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = int(time), base
            media.mux(stream.encode(frame))
        media.mux(stream.encode(None))
    if rotation:
        cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation]
        put_matrix(path, cosine, sine, -sine, cosine)
    return path


def cut_video(source: Path, path: Path, first_frame: int) -> Path:
    """Cut the first frames off without encoding again: mp4 hides them with an edit list."""
    with av.open(str(source)) as media, av.open(str(path), "w") as made:
        stream = media.streams.video[0]
        copied = made.add_stream_from_template(stream)
        shift = int(first_frame / stream.average_rate / stream.time_base)
        for packet in media.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - shift,
                    packet.dts - shift,
                    copied,
                )
                made.mux(packet)
    return path


def truncate(source: Path, path: Path, fraction: float) -> Path:
    """Keep only the first part of a file."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def write_audio(path: Path, seconds: float = 0.5) -> Path:
    """Write a tone, and no picture."""
    with av.open(str(path), "w") as media:
        stream = media.add_stream("aac", rate=16000, layout="mono")
        wave = np.sin(np.arange(int(16000 * seconds)) / 10).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        media.mux(stream.encode(frame))
        media.mux(stream.encode(None))
    return path


def put_matrix(path: Path, a: float, b: float, c: float, d: float) -> None:
    """Put a display matrix into the track header of an mp4 or mov file.

    A pixel at (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, c, d = (round(value * (1 << 16)) for value in (a, b, c, d))
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44  # in version 0 of the box, 40 bytes come before the matrix
    data[start : start + len(matrix)] = matrix
    path.write_bytes(data)
