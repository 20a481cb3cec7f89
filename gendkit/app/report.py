"""What the app shows and hands out: table, pictures, CSV, JSON and a report; text that came from
outside is escaped everywhere."""

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gendkit import __version__
from gendkit.app.analyse import SCORED, FileResult, Settings
from gendkit.app.pictures import CROP_SIDE, annotate, figure
from gendkit.calibration import explain
from gendkit.score import MEANING

COLUMNS = ("file", "status", "call", "mean", "median", "frames", "with a face", "faces", "remark")
_FACES = ("file", "sha256", "frame", "seconds", "face", "x0", "y0", "x1", "y1", "p_fake")
WARNING = (
    "Do not decide about a person by this number. Detectors err more on people, cameras, codecs and "
    "manipulations that they were not trained on, and they cannot see a forgery outside the face, "
    "in the sound or in the words."
)


def rows(results: Sequence[FileResult], threshold: float | None) -> list[tuple[str, ...]]:
    """Give the table of results as text, one row a file, in the order of `COLUMNS`."""
    number = "{:.3f}".format
    return [
        (
            result.name,
            result.status.replace("_", " "),
            result.call(threshold) or "",
            "" if result.mean is None else number(result.mean),
            "" if result.median is None else number(result.median),
            str(result.n_frames),
            str(result.n_with_face),
            str(len(result.faces)),
            result.message,
        )
        for result in results
    ]


def table(results: Sequence[FileResult], threshold: float | None) -> str:
    """Give the table of results as HTML."""
    if not results:
        return ""
    columns, body = COLUMNS, rows(results, threshold)
    if any(result.calibrated is not None for result in results):
        columns = (*COLUMNS[:5], "calibrated", *COLUMNS[5:])
        extra = ["" if r.calibrated is None else f"{r.calibrated:.3f}" for r in results]
        body = [(*row[:5], text, *row[5:]) for row, text in zip(body, extra, strict=True)]
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    lines = "".join(
        f'<tr class="{html.escape(result.status)}">'
        + "".join(f"<td>{html.escape(text)}</td>" for text in row)
        + "</tr>"
        for result, row in zip(results, body, strict=True)
    )
    caption = "Mean and median of P(fake) over the frames with a face; a frame counts by its highest face."
    return (
        f'<p>{caption}</p><div class="gk-scroll" tabindex="0"><table class="gk-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _when(shown: Any) -> str:
    return f"frame {shown.frame}" + ("" if shown.seconds is None else f", {shown.seconds:.2f} s")


def frames(results: Sequence[FileResult], threshold: float | None) -> str:
    """Give the frames that were looked at, with boxes and scores, as HTML."""
    parts = []
    for result in results:
        if not result.shown:
            continue
        parts.append(f'<h3>{html.escape(result.name)}</h3><div class="gk-grid">')
        for shown in result.shown:
            scores = ", ".join(f"{score:.2f}" for score in shown.scores) or "no face"
            image = annotate(shown.image, shown.boxes, shown.scores, threshold)
            text = f"{_when(shown)}: {scores}"
            parts.append(figure(image, f"{result.name}, {text}", text))
        parts.append("</div>")
    return "".join(parts) or "<p>No frame with a score yet.</p>"


def crops(results: Sequence[FileResult]) -> str:
    """Give the crops that were judged, highest score first, as HTML."""
    parts = []
    for result in results:
        found = [
            (score, crop, shown)
            for shown in result.shown
            for score, crop in zip(shown.scores, shown.crops, strict=True)
        ]
        if not found:
            continue
        parts.append(f'<h3>{html.escape(result.name)}</h3><div class="gk-grid gk-small">')
        for score, crop, shown in sorted(found, key=lambda item: -item[0]):
            text = f"{score:.2f} · {_when(shown)}"
            parts.append(figure(crop, f"crop of {result.name}, {text}", text, CROP_SIDE))
        parts.append("</div>")
    return "".join(parts) or "<p>No crop yet.</p>"


def facts(
    results: Sequence[FileResult], settings: Settings, detector: Any, threshold: float | None
) -> dict[str, Any]:
    """Give everything but the pictures as plain data, for JSON.

    Args:
        results: One per file.
        settings: How they were looked at.
        detector: Its name, crop margin and stored threshold are written down.
        threshold: The one in use, which may differ from the stored one.
    """
    files = []
    for result in results:
        plain = {k: v for k, v in vars(result).items() if k not in ("shown", "faces")}
        faces = [asdict(face) for face in result.faces]
        files.append({**plain, "call": result.call(threshold), "faces": faces})
    notes = [explain(detector.threshold), MEANING, detector.limits, WARNING]
    return {
        "gendkit": __version__,
        "model": detector.name,
        "threshold": threshold,
        "stored_threshold": detector.threshold,
        "settings": {**asdict(settings), "scale": settings.scale or detector.crop_scale},
        "notes": [note for note in notes if note],
        "files": files,
    }


def as_json(data: dict[str, Any]) -> str:
    """Write the facts as JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False)


def as_csv(results: Sequence[FileResult]) -> str:
    """Write one row per scored face as CSV; a name that a spreadsheet would run is defused."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_FACES)
    for result in results:
        name = result.name
        name = "'" + name if name[0] in "=+-@" else name
        for face in result.faces:
            seconds = "" if face.seconds is None else f"{face.seconds:.3f}"
            where = (name, result.sha256, face.frame, seconds, face.face)
            writer.writerow([*where, *face.box, f"{face.p_fake:.6f}"])
    return out.getvalue()


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { border: 1px solid #8888; padding: .3rem .5rem; }
caption { text-align: left; padding-bottom: .4rem; } td, th { text-align: left; }
.gk-scroll { overflow-x: auto; } figure { margin: 0; } img { max-width: 100%; }
.gk-grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.gk-small { grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); }
.warning { border-left: .3rem solid #d55e00; padding-left: .8rem; }
"""


def as_page(results: Sequence[FileResult], data: dict[str, Any], threshold: float | None) -> str:
    """Write a report as one HTML page that needs no other file.

    Args:
        results: One per file.
        data: As `facts` gives it.
        threshold: The one in use.
    """
    settings = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>"
        for k, v in {"model": data["model"], "gendkit": data["gendkit"], **data["settings"]}.items()
    )
    hashes = "".join(
        f"<li>{html.escape(r.name)}: SHA-256 {html.escape(r.sha256)}…</li>"
        for r in results
        if r.sha256
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in data["notes"])
    used = "none" if threshold is None else f"{threshold:.3f}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>gendkit report</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>Scores of {len(results)} "
        f'file{"" if len(results) == 1 else "s"}</h1><div class="warning">{notes}</div>'
        f"<p>Threshold in use: {used}</p>{table(results, threshold)}"
        f"<h2>Frames</h2>{frames(results, threshold)}<h2>Crops that were judged</h2>"
        f"{crops(results)}<h2>Settings</h2><table>{settings}</table><ul>{hashes}</ul></body></html>"
    )


def link(name: str, kind: str, text: str) -> str:
    """Give a link that saves a text as a file; the text is in the page, not on the disk."""
    packed = base64.b64encode(text.encode()).decode()
    size = f"{len(text.encode()) / 1000:,.0f} kB"
    return (
        f'<a class="gk-save" download="{html.escape(name, quote=True)}" '
        f'href="data:{kind};base64,{packed}">{html.escape(name)} <small>({size})</small></a>'
    )


def downloads(
    results: Sequence[FileResult], settings: Settings, detector: Any, threshold: float | None
) -> str:
    """Give the links to the report and the scores; "" if nothing was scored."""
    if not any(result.status in SCORED for result in results):
        return "<p>Nothing to save yet: no file has a score.</p>"
    data = facts(results, settings, detector, threshold)
    return "".join(
        (
            link("gendkit-report.html", "text/html", as_page(results, data, threshold)),
            link("gendkit-scores.csv", "text/csv", as_csv(results)),
            link("gendkit-scores.json", "application/json", as_json(data)),
        )
    )
