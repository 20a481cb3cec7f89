"""Video files in and out, frame by frame and exact (PyAV).

Frame k is the k-th frame in the order in which a player shows them. It is found by decoding forward from the start and
counting, never by seeking: seeking lands on the wrong frame in many files (opencv/opencv#9053), and one pass is faster
than one seek per frame.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from gendkit.repro import atomic_path

RULES = ("fixed_num_frames", "fixed_stride", "at_least", "all")
_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
_PIXELS = {"mjpeg": "yuvj420p"}


class VideoError(ValueError):
    """A video cannot be read or written as asked; the message says what came and how to fix it.

    Attributes:
        n_readable: number of frames, counted from the first, that can still be read exactly.
        kind: "missing", "empty", "unreadable", "no_stream", "truncated", "index" or "input".
    """

    def __init__(self, message: str, n_readable: int = 0, kind: str = "unreadable"):
        super().__init__(message)
        self.n_readable = n_readable
        self.kind = kind

    def __reduce__(self):
        # Exceptions with extra arguments do not survive the way back from a worker process otherwise.
        return type(self), (str(self), self.n_readable, self.kind)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        n_frames: number of frames shown, counted packet by packet (not the header's claim).
        fps: average frames per second; 0.0 where the file does not say.
        width: shown width in pixels, rotation metadata applied.
        height: shown height in pixels.
        codec: name of the codec, such as "h264".
        duration_s: duration in seconds; 0.0 where the file does not say.
    """

    n_frames: int
    fps: float
    width: int
    height: int
    codec: str
    duration_s: float


def probe(path: str | Path) -> VideoInfo:
    """Describe a video without keeping its frames.

    All packets are walked, so `n_frames` is exact; only the first frame is decoded (for its size and rotation).

    Args:
        path: a video file.

    Returns:
        The description.

    Raises:
        VideoError: the file is missing, empty, not a video or truncated (`n_readable` then tells how much is left).
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        times, last_dts, n_packets, cut = [], None, 0, ""
        size = None
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                if packet.is_corrupt:
                    cut = "a damaged packet"
                    break
                if size is None:
                    size = _first_size(stream, packet)
                n_packets += 1
                last_dts = packet.dts if packet.dts is not None else last_dts
                if not packet.is_discard:
                    times.append(packet.pts)
        except av.FFmpegError as error:
            cut = str(error)
        n_frames = len(times)
        if cut or n_packets < stream.frames:
            n_frames = sum(_safe(t, last_dts) for t in times)
            raise _truncated(path, n_frames, stream.frames, cut)
        if n_frames == 0:
            raise VideoError(
                f"{path}: the video stream holds no frame; expected at least one. Export it again."
            )
        width, height = size or (stream.codec_context.width, stream.codec_context.height)
        rate = stream.average_rate
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if not seconds and container.duration:
            seconds = container.duration / av.time_base
        codec = stream.codec_context.name
        return VideoInfo(n_frames, float(rate) if rate else 0.0, width, height, codec, seconds)


def iter_frames(path: str | Path) -> Iterator[tuple[int, np.ndarray]]:
    """Walk through a video, one frame at a time, in the order shown.

    Every frame that can be read exactly is given first; a truncated file raises only after its last good frame.

    Args:
        path: a video file.

    Yields:
        Index (from 0) and image (H, W, 3) uint8 RGB, rotation metadata applied.

    Raises:
        VideoError: the file is missing, empty, not a video, or truncated.
    """
    for index, frame in _decode(path):
        yield index, _image(frame)


def read_frames(path: str | Path, indices: Sequence[int] | None = None) -> np.ndarray:
    """Read frames by number, in one forward pass that stops after the last one asked for.

    Args:
        path: a video file.
        indices: frame numbers from 0, in any order, repeats allowed; None reads all frames.

    Returns:
        Images (n, H, W, 3) uint8 RGB in the order of `indices`.

    Raises:
        VideoError: as `iter_frames`, and for a number outside the video (kind "index").
    """
    if indices is None:
        return np.stack([image for _, image in iter_frames(path)])
    wanted = [int(i) for i in indices]
    if not wanted:
        raise VideoError(
            "indices is empty; give at least one frame number, or None for all.", kind="input"
        )
    if min(wanted) < 0:
        raise VideoError(
            f"frame {min(wanted)} asked; frame numbers start at 0 and are never negative.",
            kind="index",
        )
    last, found, seen = max(wanted), {}, 0
    needed = set(wanted)
    for index, frame in _decode(path):
        seen = index + 1
        if index in needed:
            found[index] = _image(frame)
        if index == last:
            break
    if last >= seen:
        raise VideoError(
            f"{path}: frame {last} asked, but the video has {seen} frames (0 to {seen - 1}). "
            "Ask probe() for the number first, or use sample().",
            seen,
            "index",
        )
    return np.stack([found[i] for i in wanted])


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float = 25,
    crf: int = 23,
    codec: str = "libx264",
    gop: int = 12,
    pad: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Code frames as a video file, atomically; the same input gives the same bytes.

    One coding thread and no time stamps of the day are used for that reason. The index is put in front of the
    pictures, so that a file cut short stays readable up to the cut.

    Args:
        path: where to write; the ending picks the container (.mp4, .mov, .mkv, .webm, .avi).
        frames: (T, H, W, 3) uint8 RGB, or masks (T, H, W) as uint8 or as float in [0, 1]; or an iterable of such
            images.
        fps: frames per second.
        crf: constant rate factor of libx264 or VP9, lower is better; FaceForensics++ uses 23 (c23) and 40 (c40).
        codec: name of the encoder, such as "libx264", "libvpx-vp9", "mjpeg".
        gop: largest distance between key frames.
        pad: colour is stored at half resolution (yuv420p), so width and height must be even. True repeats the last
            column and the last row of an odd image once, at the right and at the bottom; False refuses it.
        options: further options of the encoder, such as {"bf": "3"}.

    Returns:
        The path written.

    Raises:
        VideoError: no frames, frames of different size, wrong type, odd size without `pad`, unknown ending.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise VideoError(
            f"{path.name}: unknown ending; use one of {', '.join(_FORMATS)}.", kind="input"
        )
    form = _FORMATS[path.suffix.lower()]
    rate = Fraction(fps).limit_denominator(1001)
    coder = {"crf": str(crf), "g": str(gop), **(options or {})}
    if codec == "mjpeg":
        coder = {"qscale": "3", **(options or {})}
    elif codec == "libx264":
        coder = {"preset": "medium", **coder}
    muxer = {"movflags": "+faststart"} if form in ("mp4", "mov") else {}
    shape = None
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format=form, options={"fflags": "+bitexact", **muxer}) as out,
    ):
        stream = None
        for index, image in enumerate(frames):
            image = _rgb(image, index, pad)
            if stream is None:
                shape = image.shape
                stream = out.add_stream(codec, rate=rate, options=coder)
                stream.height, stream.width = shape[:2]
                stream.pix_fmt = _PIXELS.get(codec, "yuv420p")
                stream.codec_context.thread_count = 1
                stream.codec_context.flags |= av.codec.context.Flags.bitexact
            if image.shape != shape:
                raise VideoError(
                    f"frame {index} is {image.shape[1]}x{image.shape[0]}, frame 0 is {shape[1]}x{shape[0]}; "
                    "all frames of a video need one size.",
                    kind="input",
                )
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index, 1 / rate
            out.mux(stream.encode(picture))
        if stream is None:
            raise VideoError("no frames given; a video needs at least one.", kind="input")
        out.mux(stream.encode(None))
    return path


def sample(n_total: int, how: str = "fixed_num_frames", n: int = 32, stride: int = 1) -> list[int]:
    """Choose frame numbers of a video.

    Args:
        n_total: number of frames in the video.
        how: "fixed_num_frames": n frames spread evenly from the first to the last (all if there are fewer);
            "fixed_stride": every `stride`-th frame from frame 0; "at_least": **all** frames, in the order in which
            they should be tried until n of them gave a face: from the middle, then always the frame farthest from
            those tried so far (the smaller number where two are as far); "all": 0, 1, 2, ...
        n: number of frames for "fixed_num_frames".
        stride: step for "fixed_stride".

    Returns:
        Frame numbers; sorted, but for "at_least".

    Raises:
        VideoError: unknown rule, or a count below 1.

    Source: rule names and the max-spread order of the official GenD code (`detector.py`).
    """
    for name, value in (("n_total", n_total), ("n", n), ("stride", stride)):
        if value < 1:
            raise VideoError(f"{name} is {value}; expected at least 1.", kind="input")
    if how == "all":
        return list(range(n_total))
    if how == "fixed_stride":
        return list(range(0, n_total, stride))
    if how == "fixed_num_frames":
        if n >= n_total:
            return list(range(n_total))
        return [int(i) for i in np.linspace(0, n_total - 1, n)]
    if how == "at_least":
        return _max_spread(n_total)
    raise VideoError(f"unknown rule {how!r}; use one of {', '.join(RULES)}.", kind="input")


def _max_spread(n_total: int) -> list[int]:
    frames = np.arange(n_total)
    order = [n_total // 2]
    distance = np.abs(frames - order[0])
    while distance.max() > 0:
        farthest = int(distance.argmax())
        if distance[farthest] == 1:
            # All that is left touches a chosen frame, so it stays at distance 1 and comes in ascending order.
            order += [int(i) for i in np.flatnonzero(distance)]
            break
        order.append(farthest)
        np.minimum(distance, np.abs(frames - farthest), out=distance)
    return order


def _open(path: str | Path) -> "av.container.InputContainer":
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise VideoError(f"{path} {what}; expected a video file. Check the path.", kind="missing")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes); copy or download it again.", kind="empty")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path} cannot be read as a video ({_reason(error)}): it is another kind of file or its index was cut "
            "off, 0 frames readable. Check that it plays, or download it again."
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(
            f"{path} has no video stream (sound only, or cut off?); expected a video.",
            kind="no_stream",
        )
    return container


def _decode(path: str | Path) -> Iterator[tuple[int, "av.VideoFrame"]]:
    with _open(path) as container:
        stream = container.streams.video[0]
        index, n_packets, last_dts, cut, key_seen = 0, 0, None, "", False
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    break
                if packet.is_corrupt:
                    cut = "a damaged packet"
                    break
                for frame in stream.decode(packet):
                    key_seen = True
                    yield index, frame
                    index += 1
                n_packets += 1
                last_dts = packet.dts if packet.dts is not None else last_dts
        except av.FFmpegError as error:
            cut = _reason(error)
        damaged = bool(cut) or n_packets < stream.frames
        try:
            for frame in stream.decode(None):
                # After a cut the frames still held back may have a missing one before them: its number would be wrong.
                if damaged and not _safe(frame.pts, last_dts):
                    continue
                key_seen = True
                yield index, frame
                index += 1
        except av.FFmpegError as error:
            damaged, cut = True, cut or _reason(error)
        if damaged:
            raise _truncated(path, index, stream.frames, cut)
        if not key_seen:
            raise VideoError(
                f"{path}: no frame could be decoded from the video stream. Download it again."
            )


def _safe(pts: int | None, last_dts: int | None) -> bool:
    """A missing packet is decoded after `last_dts` and shown no earlier than decoded: frames up to it have no gap."""
    return pts is not None and last_dts is not None and pts <= last_dts


def _truncated(path: str | Path, n_readable: int, n_claimed: int, cut: str) -> VideoError:
    claim = f" of {n_claimed}" if n_claimed else ""
    why = f" ({cut})" if cut else ""
    return VideoError(
        f"{path} is truncated or damaged{why}: {n_readable}{claim} frames readable. "
        "Download it again, or use only the readable frames.",
        n_readable,
        "truncated",
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _first_size(stream: "av.VideoStream", packet: "av.Packet") -> tuple[int, int] | None:
    try:
        for frame in stream.decode(packet):
            height, width = _image(frame).shape[:2]
            return width, height
    except av.FFmpegError:
        pass
    return None


def _image(frame: "av.VideoFrame") -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _rgb(image: np.ndarray, index: int, pad: bool) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim == 2 and np.issubdtype(image.dtype, np.floating):
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise VideoError(f"mask {index} leaves [0, 1]; clip it first.", kind="input")
        image = np.round(image * 255).astype(np.uint8)
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
    ):
        raise VideoError(
            f"frame {index} is {image.dtype} {image.shape}; expected uint8 (H, W, 3) RGB, or a mask (H, W) as uint8 "
            "or as float in [0, 1].",
            kind="input",
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    odd_h, odd_w = image.shape[0] % 2, image.shape[1] % 2
    if odd_h or odd_w:
        if not pad:
            raise VideoError(
                f"frame {index} is {image.shape[1]}x{image.shape[0]}; yuv420p needs even width and height. "
                "Use pad=True to repeat the last column and row.",
                kind="input",
            )
        image = np.pad(image, ((0, odd_h), (0, odd_w), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)
