"""One page for one scored file: frames with boxes, the crops that were judged, scores, and a tested map."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gendkit import calibration, explain, plots, repro
from gendkit.score import MEANING, Detector, FileScore, score_crops

MAX_FRAMES = 12
_STYLE = """body { font: 16px/1.5 Arial, Helvetica, sans-serif; color: #222; margin: 0 auto;
  max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; }
.row { display: flex; flex-wrap: wrap; gap: 0.75rem; }
figure { margin: 0; } figure img { max-width: 100%; display: block; }
figcaption { font-size: 0.85rem; color: #444; }
.warning { border-left: 4px solid #D55E00; padding: 0.25rem 0.75rem; background: #FFF4EC; }
.big { font-size: 1.3rem; }"""


def write(
    result: FileScore,
    crops: Sequence[np.ndarray],
    detector: Detector,
    folder: str | Path,
    seed: int = 0,
    **options: int,
) -> Path:
    """Write the page of one file into a folder, and plotly's script beside it once.

    The map is made on the face with the highest score: about 250 crops are scored for it.

    Args:
        result: With a score, from `score.score_files`.
        crops: Its crops, (H, W, 3) uint8 each, as `seen` of `score.score_files` gets them.
        detector: What scored it.
        folder: Made if missing; a page of the same name is not overwritten.
        seed: Seed of the random orders of the map's test.
        **options: For `explain.occlusion`: size, stride.

    Returns:
        The page, an HTML file that needs no network.

    Raises:
        ValueError: If the result has no score, or crops and faces differ in number.
    """
    if result.p_fake is None or len(crops) != len(result.faces):
        raise ValueError(
            f"got p_fake={result.p_fake}, {len(crops)} crops and {len(result.faces)} faces; "
            "expected a scored file with one crop a face"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = _free(folder, Path(result.path).stem)
    heat, test, top = tested_map(result, crops, detector, seed, **options)
    parts = [
        _head(result, detector),
        _frames(result),
        _crops(result, crops),
        _timeline(result, detector),
        _map(crops[top], heat, test, top),
        _limits(detector),
    ]
    text = _page(Path(result.path).name, parts)
    with repro.atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    script = folder / "plotly.min.js"
    if not script.is_file():
        from plotly.offline import get_plotlyjs

        with repro.atomic_path(script) as temporary:
            temporary.write_text(get_plotlyjs(), encoding="utf-8")
    return page


def tested_map(
    result: FileScore,
    crops: Sequence[np.ndarray],
    detector: Detector,
    seed: int = 0,
    **options: int,
) -> tuple[np.ndarray, explain.Deletion, int]:
    """Make the occlusion map of the most suspicious crop, and test it.

    Args:
        result: As for `write`.
        crops: As for `write`.
        detector: As for `write`.
        seed: As for `write`.
        **options: As for `write`.

    Returns:
        The map (H, W) in logits, its test, and the number of the crop.
    """
    top = int(np.argmax([face.p_fake for face in result.faces]))

    def score(images: list[np.ndarray]) -> np.ndarray:
        return calibration.logit(score_crops(detector, images))

    heat = explain.occlusion(score, crops[top], **options)
    return heat, explain.deletion(score, crops[top], heat, seed=seed), top


def _free(folder: Path, stem: str) -> Path:
    """Give a file name that is not taken, without characters that a shell or a link minds."""
    stem = re.sub(r"[^\w.-]+", "_", stem).strip("._") or "file"
    number = 1
    while (page := folder / f"{stem}{f'-{number}' if number > 1 else ''}.html").exists():
        number += 1
    return page


def _head(result: FileScore, detector: Detector) -> str:
    call = f", called <b>{result.call}</b>" if result.call else ""
    lines = [f"<p class='big'>P(fake) <b>{result.p_fake:.3f}</b>{call}</p>"]
    if result.calibrated is not None:
        lines.append(f"<p>Calibrated: {result.calibrated:.3f}</p>")
    counts = f"{len(result.faces)} faces in {result.n_faces} of {result.n_frames} frames"
    lines.append(f"<p>{counts}. Model: {html.escape(detector.name)}.</p>")
    if result.message:
        lines.append(f"<p>{html.escape(result.message)}</p>")
    lines.append(f"<p>{html.escape(calibration.explain(detector.threshold))}</p>")
    return "\n".join(lines)


def _limits(detector: Detector) -> str:
    notes = [MEANING, *([detector.limits] if detector.limits else [])]
    text = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"<h2>What the score does not say</h2><div class='warning'>{text}</div>"


def _spread(n: int) -> list[int]:
    return sorted({round(k) for k in np.linspace(0, n - 1, min(n, MAX_FRAMES))})


def _picture(image: np.ndarray, text: str, side: int) -> str:
    text = html.escape(text)
    return (
        f"<figure><img src='{plots.data_uri(image, side)}' alt='{text}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )


def _frames(result: FileScore) -> str:
    numbers = sorted({face.frame for face in result.faces})
    shown = [numbers[k] for k in _spread(len(numbers))]
    pictures = []
    for number, image in zip(shown, _read(result.path, shown), strict=True):
        faces = [face for face in result.faces if face.frame == number]
        scores = ", ".join(f"{face.p_fake:.2f}" for face in faces)
        boxed = plots.boxed(image, [face.box for face in faces], 320)
        pictures.append(_picture(boxed, f"frame {number}: P(fake) {scores}", 320))
    left = f" {len(shown)} of {len(numbers)} are shown." if len(shown) < len(numbers) else ""
    return (
        f"<h2>The frames and the faces that were found</h2><p>Orange: the detector's box.{left}</p>"
        f"<div class='row'>{''.join(pictures)}</div>"
    )


def _read(path: str, numbers: list[int]) -> list[np.ndarray]:
    from gendkit.extract.units import IMAGES
    from gendkit.extract.work import _open_image
    from gendkit.video import read_frames

    if Path(path).suffix.lower() in IMAGES:
        return [_open_image(Path(path))]
    return list(read_frames(path, numbers))


def _crops(result: FileScore, crops: Sequence[np.ndarray]) -> str:
    shown = _spread(len(crops))
    pictures = [
        _picture(
            crops[k], f"frame {result.faces[k].frame}: P(fake) {result.faces[k].p_fake:.3f}", 160
        )
        for k in shown
    ]
    left = f"<p>{len(shown)} of {len(crops)} are shown.</p>" if len(shown) < len(crops) else ""
    return (
        "<h2>The crops that were judged</h2><p>The model sees these, and nothing else.</p>"
        f"{left}<div class='row'>{''.join(pictures)}</div>"
    )


def _figure(fig) -> str:
    alt = html.escape(plots.describe(fig))
    options = {"responsive": True, "displayModeBar": False}
    drawn = fig.to_html(full_html=False, include_plotlyjs=False, config=options)
    return f"<div role='img' aria-label='{alt}'>{drawn}</div>"


def _timeline(result: FileScore, detector: Detector) -> str:
    import pandas as pd

    if len({face.frame for face in result.faces}) < 2:
        return ""
    rows = [(f"face {f.face}", f.frame, f.p_fake) for f in result.faces]
    table = pd.DataFrame(rows, columns=["method", "frame", "p_fake"])
    value = detector.threshold["value"] if detector.threshold else None
    fig = plots.score_lines(table, value, title="Frame by frame", profile="")
    return f"<h2>Score over time</h2>{_figure(fig)}"


def _map(crop: np.ndarray, heat: np.ndarray, test: explain.Deletion, top: int) -> str:
    caption = "orange: covering lowers the score (logit)"
    one = plots.occlusion_map(crop, heat, caption=caption)
    two = plots.deletion_curves(test.share, test.by_map, test.by_chance)
    return (
        f"<h2>What the highest score rests on</h2><p class='warning'>{explain.WARNING}</p>"
        f"{_figure(one)}<p><b>Test of the map.</b> {test.text()}</p>{_figure(two)}"
    )


def _page(name: str, parts: Sequence[str]) -> str:
    name = html.escape(name)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{name}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{_STYLE}</style><script src='plotly.min.js' charset='utf-8'></script></head>"
        f"<body><h1>{name}</h1>{''.join(part for part in parts if part)}</body></html>\n"
    )
