"""What one video tells without its face: facts of the file, of the background, of the first frame.

Each function gives a flat dictionary: numbers, or text for what has no order (a codec, a tag).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gendkit import video

BACKGROUND_FRAMES = 4  # of each video, spread evenly
MARGIN = 16  # pixels around a mask that do not count: one macroblock of H.264
BAND_SIGMAS = (0.7, 1.4, 2.8)  # edges of the high-pass bands, in pixels; own choice
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Source: ITU-R BT.601
_MASKED = 0.02  # a mask above this share of white is manipulated; below lies what coding adds
_X264_NOTE = re.compile(rb"x264 - core [ -~]+")  # the settings that x264 writes into its files


def file_facts(path: str | Path) -> dict[str, float | str]:
    """Describe a video file without looking at a picture.

    Args:
        path: A video file.

    Returns:
        Size, duration, frame count, frame rate, resolution, pixel format, codec, profile, settings
        note of the encoder, tags, and the sizes of the packets: of key frames, of the others, their
        spread, the distance of key frames. Sizes are natural logarithms of bytes.

    Raises:
        VideoError: If the file cannot be read.
    """
    import av

    info = video.probe(path)
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        coder = stream.codec_context
        packets = [packet for packet in container.demux(stream) if packet.size]
        note = _X264_NOTE.search(bytes(packets[0]))
        facts: dict[str, float | str] = {
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 3),
            "n_frames": info.n_frames,
            "duration_s": round(info.duration_s, 3),
            "codec": info.codec,
            "profile": str(coder.profile),
            "pixel_format": str(coder.pix_fmt),
            "container": container.format.name,
            "n_streams": len(container.streams),
            "encoder_note": note.group().decode() if note else "",
            **{f"tag {name}": text for name, text in container.metadata.items()},
            **{f"stream tag {name}": text for name, text in stream.metadata.items()},
        }
        sizes = np.array([packet.size for packet in packets], dtype=float)
        is_key = np.array([packet.is_keyframe for packet in packets])
        reordered = np.mean([packet.pts != packet.dts for packet in packets])
    file_size = Path(path).stat().st_size
    n_pixels = info.n_frames * info.width * info.height
    others = sizes[~is_key] if (~is_key).any() else sizes
    keys = sizes[is_key] if is_key.any() else sizes[:1]
    starts = np.flatnonzero(is_key)
    return facts | {
        "log file size": np.log(file_size),
        "log bits per pixel": np.log(8 * sizes.sum() / n_pixels),
        "log bytes beside packets": np.log(max(file_size - sizes.sum(), 1)),
        "log first packet": np.log(sizes[0]),
        "log key packet": np.log(keys.mean()),
        "log other packet": np.log(others.mean()),
        "key over other": np.log(keys.mean() / others.mean()),
        "spread of other packets": np.log(others).std(),
        "log smallest packet": np.log(sizes.min()),
        "log last packet": np.log(sizes[-1]),
        "share of key packets": is_key.mean(),
        "GOP length": float(np.diff(starts).mean()) if len(starts) > 1 else len(sizes),
        "share of reordered packets": reordered,
    }


def first_frame_facts(path: str | Path) -> dict[str, float]:
    """Describe the first frame as a whole: colour, brightness, contrast.

    No local texture (high-pass bands) is measured here: there forgeries may differ, that is the
    signal a detector is asked to find. Global brightness and colour should not tell them apart.

    Args:
        path: A video file.

    Returns:
        Means and spreads of red, green and blue, saturation, percentiles of brightness, contrast.

    Raises:
        VideoError: If the file cannot be read.
    """
    image = video.read_frames(path, [0])[0].astype(np.float32) / 255
    luma = image @ LUMA
    levels = (1, 5, 25, 50, 75, 95, 99)
    percentiles = np.percentile(luma, levels)
    return {
        **_moments(image.reshape(-1, 3)),
        "saturation": float(np.ptp(image, axis=-1).mean()),
        **{f"brightness {level} %": float(p) for level, p in zip(levels, percentiles, strict=True)},
        "contrast": float(percentiles[-2] - percentiles[1]),
    }


def background_facts(
    path: str | Path, outside: np.ndarray, frames: Sequence[int]
) -> dict[str, float]:
    """Describe the pixels that no forgery touched.

    Args:
        path: A video file.
        outside: (H, W) bool, True where to look, from `outside_masks`.
        frames: Numbers of the frames to look at.

    Returns:
        Moments of red, green and blue, log energies of three high-pass bands, and the log change
        between the frames.

    Raises:
        VideoError: If the file cannot be read.
        ValueError: If the region has another size than the video, or is empty.
    """
    from scipy.ndimage import gaussian_filter

    images = video.read_frames(path, frames).astype(np.float32) / 255
    if images.shape[1:3] != outside.shape or not outside.any():
        raise ValueError(
            f"{path}: frames of {images.shape[1:3]} pixels and {int(outside.sum())} pixels outside "
            f"masks of {outside.shape}; expected masks of the video's size that leave some background"
        )
    luma = images @ LUMA
    levels = [luma, *(gaussian_filter(luma, (0, sigma, sigma)) for sigma in BAND_SIGMAS)]
    energies = {
        f"band {k}": float(np.log(np.square(fine - coarse)[:, outside].mean() + 1e-9))
        for k, (fine, coarse) in enumerate(zip(levels, levels[1:], strict=False))
    }
    change = np.square(np.diff(luma, axis=0))[:, outside]
    return {
        **_moments(images[:, outside].reshape(-1, 3)),
        **energies,
        "change in time": float(np.log((change.mean() if change.size else 0.0) + 1e-9)),
    }


def outside_masks(
    paths: Sequence[str | Path], frames: Sequence[int], margin: int = MARGIN
) -> np.ndarray:
    """Find the pixels that lie outside every mask, with a margin for what coding spreads.

    A real and all its fakes are measured on one region, so the region itself tells nothing.

    Args:
        paths: Mask videos (or images) of all fakes of one source.
        frames: Numbers of the frames to look at; the region lies outside the masks of all of them.
        margin: Pixels by which the masks grow.

    Returns:
        (H, W) bool.

    Raises:
        VideoError: If a mask cannot be read.
        ValueError: If the masks differ in size.
    """
    from scipy.ndimage import maximum_filter

    masked = [(video.read_frames(path, frames)[..., 0] > 255 * _MASKED).any(0) for path in paths]
    shapes = {mask.shape for mask in masked}
    if len(shapes) > 1:
        raise ValueError(f"masks of one source have sizes {sorted(shapes)}, expected one: {paths}")
    return ~maximum_filter(np.logical_or.reduce(masked), 2 * margin + 1)


def _moments(pixels: np.ndarray) -> dict[str, float]:
    means, spreads = pixels.mean(0), pixels.std(0)
    return {
        **{f"mean {name}": float(v) for name, v in zip("rgb", means, strict=True)},
        **{f"spread {name}": float(v) for name, v in zip("rgb", spreads, strict=True)},
    }
