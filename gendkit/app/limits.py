"""What the app takes: sizes, lengths, kinds of files by their content, and where it may listen.

A file is judged by its first bytes, never by its name: only formats of the two tables below reach
a decoder. So playlists, which can make a video library open other files or addresses, do not.
"""

import ipaddress
import unicodedata
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    Attributes:
        max_mb: Size of one file, in 10^6 bytes.
        max_seconds: Length of a video, in seconds.
        max_files: Files of one request.
        max_frames: Frames looked at in one video.
        max_faces: Faces scored in one frame.
        max_pixels: Width times height of an image or a frame; 8192 x 4320 by default.
        work_seconds: Time for one request; what is done by then is shown.
        waiting: Requests that may wait while one is worked on.
        keep_seconds: Files that were sent, but never scored, are deleted after this time.
    """

    max_mb: float = 200.0
    max_seconds: float = 600.0
    max_files: int = 20
    max_frames: int = 300
    max_faces: int = 50
    max_pixels: int = 8192 * 4320
    work_seconds: float = 600.0
    waiting: int = 8
    keep_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"got {name}={value!r}, expected a number > 0")


class UploadError(ValueError):
    """A file is not taken; the message says why and what to do, and does not name the file."""


@dataclass(frozen=True)
class Upload:
    """A file that may be decoded.

    Attributes:
        path: Where it lies.
        kind: "image" or "video".
        note: What should be known of it; "" if nothing.
    """

    path: Path
    kind: str
    note: str


# (offset, bytes, kind)
_TAKEN = (
    (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"\xff\xd8\xff", "image"),
    (0, b"BM", "image"),
    (8, b"WEBP", "image"),
    (0, b"II*\x00", "image"),
    (0, b"MM\x00*", "image"),
    (0, b"GIF8", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (8, b"AVI ", "video"),
    (0, b"FLV\x01", "video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video"),
    (0, b"\x00\x00\x01\xba", "video"),
    (0, b"\x00\x00\x01\xb3", "video"),
    (4, b"moov", "video"),
    (4, b"mdat", "video"),
    (4, b"wide", "video"),
)
_SAVE = "save it as PNG or JPEG"
_REFUSED = (
    (0, b"PK\x03\x04", "a ZIP archive; unpack it, with its password if it has one, and give the files"),
    (0, b"Rar!", "a RAR archive; unpack it and give the files"),
    (0, b"7z\xbc\xaf", "a 7z archive; unpack it and give the files"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it and give the files"),
    (0, b"%PDF", "a PDF; export the picture as PNG or JPEG"),
    (0, b"%!PS", f"a PostScript file; {_SAVE}"),
    (0, b"8BPS", f"a Photoshop file; {_SAVE}"),
    (0, b"ID3", "sound only; a picture or a video is needed"),
    (0, b"OggS", "an Ogg file, most often sound only; save a video as MP4 or WebM"),
    (0, b"fLaC", "sound only; a picture or a video is needed"),
    (8, b"WAVE", "sound only; a picture or a video is needed"),
    (0, b"\x80\x02", "a Python pickle, which is never opened here"),
)  # fmt: skip
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"M4A ", b"M4B "), "M4A sound"),
}
_LIST = "Taken are PNG, JPEG, WebP, BMP, TIFF, GIF, MP4, MOV, MKV, WebM, AVI, MPEG, WMV and FLV."


def kind_of(head: bytes) -> str:
    """Recognise a file by its first bytes.

    Args:
        head: The first 512 bytes, or all of a shorter file.

    Returns:
        "image" or "video".

    Raises:
        UploadError: If the content is none that is taken.
    """
    for offset, magic, what in _REFUSED:
        if head[offset:].startswith(magic):
            raise UploadError(f"this is {what}.")
    if head[4:8] == b"ftyp":
        if brand := _BRANDS.get(head[8:12]):
            todo = "a picture or a video is needed" if "sound" in brand else _SAVE
            raise UploadError(f"this is {brand}, which is not read here; {todo}.")
        return "video"
    for offset, magic, kind in _TAKEN:
        if head[offset:].startswith(magic):
            return kind
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        raise UploadError(f"this is a drawing or page in text form (SVG, XML, HTML); {_SAVE}.")
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        raise UploadError(f"this is text, whatever its name says. {_LIST}")
    raise UploadError(f"the content is of no known kind, or damaged at its start. {_LIST}")


def check(path: str | Path, limits: Limits) -> Upload:
    """Look at a file without decoding it, and refuse what cannot or may not be scored.

    Args:
        path: The file.
        limits: What is allowed.

    Returns:
        What it is.

    Raises:
        UploadError: If it is no plain file, empty, too large, too long, or of another kind.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        raise UploadError(
            "no such file: it was deleted, or the upload did not finish; send it again."
        )
    size = path.stat().st_size
    if size == 0:
        raise UploadError("the file is empty (0 bytes); send it again.")
    if size > limits.max_mb * 1e6:
        raise UploadError(
            f"the file has {size / 1e6:.1f} MB, more than {limits.max_mb:g} MB; cut it or scale it "
            "down, or start the app with a larger --max-mb."
        )
    with path.open("rb") as handle:
        kind = kind_of(handle.read(512))
    note = (_check_image if kind == "image" else _check_video)(path, limits)
    return Upload(path, kind, note)


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise UploadError(
            f"{width} x {height} pixels are more than {limits.max_pixels / 1e6:.0f} million; scale "
            "it down."
        )


def _check_image(path: Path, limits: Limits) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            size, n_pictures = image.size, getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise UploadError("far too many pixels; scale the picture down.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UploadError("the picture is damaged at its start; save it again as PNG.") from error
    _check_size(*size, limits)
    return f"only the first of {n_pictures} pictures was looked at" if n_pictures > 1 else ""


def _check_video(path: Path, limits: Limits) -> str:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise UploadError(
                    "there is no picture in it: only sound, or cut off at its start; a whole video is "
                    "needed."
                )
            stream = container.streams.video[0]
            _check_size(stream.codec_context.width, stream.codec_context.height, limits)
            seconds = container.duration / av.time_base if container.duration else 0.0
            if stream.duration:
                seconds = max(seconds, float(stream.duration * stream.time_base))
    except (av.FFmpegError, OSError) as error:
        raise UploadError(
            "the video cannot be opened: cut off before its index, or damaged. Send it again, or "
            "save it again as MP4."
        ) from error
    check_seconds(seconds, limits)
    return ""


def check_seconds(seconds: float, limits: Limits) -> None:
    """Refuse a video that is too long.

    Raises:
        UploadError: If it lasts longer than `limits.max_seconds`.
    """
    if seconds > limits.max_seconds:
        raise UploadError(
            f"the video lasts {seconds:,.0f} s, more than {limits.max_seconds:,.0f} s; cut it, or "
            "start the app with a larger --max-seconds."
        )


def inside(path: str | Path, folder: str | Path) -> Path:
    """Make sure that a path given from outside lies in a folder.

    Args:
        path: As it came.
        folder: Where it must lie.

    Returns:
        The path without links and dots.

    Raises:
        UploadError: If it lies elsewhere, or is a link.
    """
    path = Path(path)
    found = path.resolve()
    if path.is_symlink() or not found.is_relative_to(Path(folder).resolve()):
        raise UploadError("the name of this file leads out of the app's folder; rename the file.")
    return found


def shown_name(path: str | Path, most: int = 60) -> str:
    """Give the name of a file in a form that is safe to show: one line, no invisible characters.

    Args:
        path: Any path or name, also a hostile one.
        most: Longest name, in characters; the ending stays.

    Returns:
        The last part of the path, "unnamed" if nothing is left of it.
    """
    name = str(path).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    name = unicodedata.normalize("NFC", name)
    name = "".join(c for c in name if unicodedata.category(c)[0] not in "CZ" or c == " ").strip()
    if len(name) > most:
        name = name[: most - 9] + "…" + name[-8:]
    return name if name.strip(". ") else "unnamed"


def is_loopback(host: str) -> bool:
    """Say whether a host is this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
