"""The page: what stands where, and which function each control calls."""

import html
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import plots
from gendkit.app import examples, explore, report
from gendkit.app.analyse import SCORED, FileResult, Settings, analyse
from gendkit.app.files import taken
from gendkit.app.limits import Limits, UploadError
from gendkit.app.models import OWN, Shelf
from gendkit.decisions import ppv
from gendkit.score import EMBEDDED_LIMITS, MEANING, explain

TITLE = "gendkit: score images and videos"
_SPREAD, _STRIDE = "spread evenly", "every k-th from the start"
_LOG = logging.getLogger(__name__)


def status(kind: str, text: str) -> str:
    """Give a status line as HTML; kind is "wait", "done", "warn" or "bad"."""
    return f'<div class="gk-status gk-{kind}" role="status">{html.escape(text)}</div>'


def summary(results: list[FileResult], threshold: float | None) -> str:
    """Say in a line what came out: how many files have a score, and how they are called."""
    scored = [result for result in results if result.status in SCORED]
    text = f"{len(scored)} of {len(results)} file{'s' * (len(results) != 1)} scored"
    if scored and threshold is not None:
        n_fake = sum(result.call(threshold) == "fake" for result in scored)
        text += f"; {n_fake} at or above the threshold {threshold:.3f}"
    return text + "."


def over_time(results: list[FileResult], threshold: float | None) -> Any:
    """Draw the scores over time; None where no file has a score."""
    rows, names = [], {}
    for k, result in enumerate(results):
        name = result.name if result.name not in names.values() else f"{result.name} ({k + 1})"
        names[k] = name
        rows += [
            {"file": name, "seconds": seconds or 0.0, "p_fake": p}
            for _, seconds, p in result.by_frame()
        ]
    if not rows:
        return None
    return plots.scores_over_time(pd.DataFrame(rows), threshold)


class Session:
    """What a page remembers between clicks: results without pictures, and what they rest on."""

    def __init__(self) -> None:
        self.results: list[FileResult] = []
        self.stored: dict[str, Any] | None = None
        self.videos: tuple[np.ndarray, np.ndarray] | None = None


class Work:
    """The functions behind the page.

    Args:
        shelf: Gives detectors and the face engine.
        limits: What is allowed.
        home: Folder of the uploads.
    """

    def __init__(self, shelf: Shelf, limits: Limits, home: Path) -> None:
        self.shelf, self.limits, self.home = shelf, limits, home
        self._stops: dict[str, threading.Event] = {}

    def stop(self, session: str) -> None:
        """End the work of a page after the frames in hand."""
        if event := self._stops.get(session):
            event.set()

    def run(
        self,
        session: str,
        paths: list[str] | None,
        chosen: list[str] | None,
        model: str,
        folder: str,
        settings: Settings,
        tell: Any = lambda share, text: None,
    ) -> Iterator[dict[str, Any]]:
        """Score uploads and examples.

        Args:
            session: Names the page, for `stop`.
            paths: Uploads; they are deleted at the end, whatever happens.
            chosen: Names of examples.
            model: Of the detector.
            folder: Of an own model.
            settings: How to look at files.
            tell: Called with the share done and what is being done.

        Yields:
            status (HTML), and in the last: results, detector, threshold.
        """
        event = self._stops[session] = threading.Event()
        try:
            with taken(paths, self.home) as files:
                yield {"status": status("wait", "Loading the model …")}
                detector = self.shelf.detector(model, folder)
                engine = self.shelf.engine(settings.det_threshold)
                files = files + [(name, examples.path(name)) for name in chosen or []]
                results: list[FileResult] = []
                value = None if detector.threshold is None else detector.threshold["value"]
                for result in analyse(
                    files, detector, engine, settings, self.limits, tell, event.is_set
                ):
                    results.append(result)
                    if len(results) < len(files):
                        text = f"{len(results)} of {len(files)} files done: {result.name}"
                        yield {"status": status("wait", text)}
                kind = "done" if all(r.status == "ok" for r in results) else "warn"
                kind = kind if any(r.status in SCORED for r in results) else "bad"
                yield {
                    "status": status(kind, summary(results, value)),
                    "results": results,
                    "detector": detector,
                    "threshold": value,
                }
        except UploadError as error:
            yield {"status": status("bad", str(error))}
        except Exception as error:  # the page must answer, and the app serve the next
            _LOG.exception("a request failed")
            text = f"This did not work ({type(error).__name__}: {error}); the log has more."
            yield {"status": status("bad", text)}
        finally:
            self._stops.pop(session, None)


def explored(
    session: Session, threshold: float, prevalence: float, fpr: float, tpr: float
) -> tuple[str, str, Any]:
    """Say what a threshold would call the files, and what such a call is worth.

    Args:
        session: With results.
        threshold: In [0, 1].
        prevalence: Share of fakes in percent, in (0, 100).
        fpr: Reals called fake, in percent.
        tpr: Fakes called fake, in percent.

    Returns:
        Table (HTML), words (HTML) and figure.
    """
    for name, given in (("fakes", prevalence), ("false alarms", fpr), ("hits", tpr)):
        if given is None or not 0 <= given <= 100 or (name == "fakes" and not 0 < given < 100):
            words = f"{name}: got {given}, expected a share in percent, between 0 and 100."
            return report.table(session.results, threshold), status("bad", words), None
    share, grid = prevalence / 100, np.geomspace(1e-4, 0.5, 80)
    value = float(ppv(tpr / 100, fpr / 100, share))
    rates = known(session, threshold)
    low = high = None
    caption = f"false alarms {fpr:.1f} %, hits {tpr:.1f} %"
    if rates and abs(rates.fpr * 100 - fpr) < 0.051 and abs(rates.tpr * 100 - tpr) < 0.051:
        low, high = explore.value_band(grid, rates)
        caption += ", counted"
    curve = ppv(tpr / 100, fpr / 100, grid)
    figure = plots.predictive_values(grid, curve, low, high, (share, value), caption=caption)
    words = html.escape(explore.in_words(share, fpr / 100, tpr / 100))
    return report.table(session.results, threshold), f"<p>{words}</p>", figure


def known(session: Session, threshold: float) -> explore.Rates | None:
    """Give the rates at a threshold: counted where select scores are there, else the stored ones."""
    if session.videos is not None:
        return explore.rates_at(*session.videos, threshold)
    rates = explore.stored(session.stored)
    return rates if rates and abs(rates.threshold - threshold) < 5e-4 else None


def rates_text(session: Session, threshold: float) -> str:
    """Say where the rates come from, as HTML."""
    rates = known(session, threshold)
    if rates is None:
        text = (
            "What this threshold does was not counted: the rates below are assumptions of yours. "
            "A run of gendkit train keeps its select scores, and then every threshold is counted."
        )
        return f"<p>{text}</p>"
    (a, b), (c, d) = rates.band
    return (
        f"<p>Counted at {rates.threshold:.3f}: {rates.false_alarms} of {rates.n_real} reals called "
        f"fake (95 % interval {a:.0%} to {b:.0%}), {rates.hits} of {rates.n_fake} fakes found "
        f"({c:.0%} to {d:.0%}).</p>"
    )


def build(work: Work, names: list[str], own: bool) -> Any:
    """Lay out the page.

    Args:
        work: The functions behind it.
        names: Models to choose from.
        own: Whether a folder may be named in the page.

    Returns:
        `gradio.Blocks`, not yet started.
    """
    import gradio as gr

    limits = work.limits
    private = {"api_visibility": "private"}

    def run(files, chosen, model, folder, rule, n, stride, level, scale, size, faces, how,
            session, request: gr.Request, progress=gr.Progress()):  # noqa: B008  # fmt: skip
        idle = {start: gr.update(interactive=True), halt: gr.update(interactive=False)}
        busy = {start: gr.update(interactive=False), halt: gr.update(interactive=True)}
        yield {state_line: status("wait", "Reading the files …"), **busy}
        settings = Settings(
            rule="stride" if rule == _STRIDE else "spread",
            max_frames=_whole(n),
            stride=_whole(stride),
            det_threshold=level,
            scale=None if not scale else float(scale),
            size=None if not size else _whole(size),
            max_faces=_whole(faces),
            aggregate=how,
        )
        last: dict[str, Any] = {}
        for last in work.run(
            request.session_hash or "", files, chosen, model, folder, settings,
            lambda share, text: progress(share, desc=text),
        ):  # fmt: skip
            if "results" not in last:
                yield {state_line: last["status"]}
        cleared = {upload: None, **idle}
        if "results" not in last:
            yield {state_line: last.get("status", ""), **cleared}
            return
        results, detector, value = last["results"], last["detector"], last["threshold"]
        session.results = [replace(result, shown=()) for result in results]
        session.stored = detector.threshold
        session.videos = _videos(detector.name)
        notes = [explain(detector.threshold), MEANING, detector.limits]
        at = 0.5 if value is None else value
        yield {
            state_line: last["status"],
            table: report.table(results, value),
            meaning: "".join(f"<p>{html.escape(note)}</p>" for note in notes if note),
            frames: report.frames(results, value),
            crops: report.crops(results),
            timeline: over_time(results, value),
            saves: report.downloads(results, settings, detector, value),
            cut: gr.update(value=round(at, 3)),
            remember: session,
            **cleared,
        }

    def stop(request: gr.Request):
        work.stop(request.session_hash or "")

    def at_threshold(session, at, share, fpr, tpr):
        rates = known(session, at)
        if rates is not None:
            fpr, tpr = round(100 * rates.fpr, 1), round(100 * rates.tpr, 1)
        return rates_text(session, at), fpr, tpr, *explored(session, at, share, fpr, tpr)

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        remember = gr.State(Session(), time_to_live=3600)
        gr.HTML(
            f"<h1>{TITLE}</h1><p>How much do the faces look like known forgeries? Runs on this "
            "computer; what you give is not sent anywhere and is deleted after scoring.</p>"
            f'<div class="gk-warning"><p><strong>No proof.</strong> {html.escape(MEANING)} '
            f"{html.escape(report.WARNING)}</p><p>{html.escape(EMBEDDED_LIMITS)}</p></div>",
            elem_id="gk-head",
        )
        with gr.Row(elem_id="gk-main"):
            with gr.Column(scale=2, min_width=320):
                upload = gr.File(
                    label="Images and videos",
                    file_count="multiple",
                    height=170,
                    elem_id="gk-upload",
                )
                gr.HTML(
                    f"At most {limits.max_files} files, {limits.max_mb:g} MB and "
                    f"{limits.max_seconds:g} s each.",
                    elem_id="gk-limits",
                )
                found = examples.names()
                chosen = gr.CheckboxGroup(
                    found, label="Or examples: people who do not exist", elem_id="gk-examples",
                    visible=bool(found),
                )  # fmt: skip
                gr.HTML(examples.strip(), elem_id="gk-strip", visible=bool(found))
                model = gr.Dropdown(names, value=names[0], label="Model", elem_id="gk-model")
                folder = gr.Textbox(
                    label="Folder of your model",
                    info="Of a run of gendkit train, an adapter, or safetensors with config.json",
                    visible=False,
                    elem_id="gk-folder",
                )
                with gr.Accordion("Settings", open=False, elem_id="gk-settings"):
                    rule = gr.Radio([_SPREAD, _STRIDE], value=_SPREAD, label="Frames of a video")
                    n = gr.Slider(1, limits.max_frames, value=8, step=1, label="Maximum frames")
                    stride = gr.Slider(1, 100, value=5, step=1, label="k (stride)")
                    faces = gr.Slider(
                        1, limits.max_faces, value=1, step=1, label="Maximum faces in a frame"
                    )
                    level = gr.Slider(
                        -1, 2, value=0, step=0.1, label="Face detection threshold",
                        info="dlib's score; lower finds more faces and more that are none",
                    )  # fmt: skip
                    scale = gr.Slider(
                        0, 3, value=0, step=0.05, label="Crop scale",
                        info="0: as the model was trained (GenD: 1.3)",
                    )  # fmt: skip
                    size = gr.Slider(
                        0, 1024, value=256, step=32, label="Crop size (pixels)",
                        info="0: as large as in the frame",
                    )  # fmt: skip
                    how = gr.Radio(["mean", "median"], value="mean", label="Frames to file")
                with gr.Row():
                    start = gr.Button("Score", variant="primary", elem_id="gk-start")
                    halt = gr.Button("Stop", interactive=False, elem_id="gk-stop")
            with gr.Column(scale=5, min_width=320):
                state_line = gr.HTML(
                    status("wait", "Give a file or choose an example, then press Score."),
                    elem_id="gk-state",
                )
                with gr.Tabs():
                    with gr.Tab("Scores"):
                        table = gr.HTML("<p>No file scored yet.</p>", elem_id="gk-table")
                        meaning = gr.HTML("", elem_id="gk-meaning")
                    with gr.Tab("Frames"):
                        frames = gr.HTML("<p>No frame with a score yet.</p>", elem_id="gk-frames")
                    with gr.Tab("Crops"):
                        crops = gr.HTML("<p>No crop yet.</p>", elem_id="gk-crops")
                    with gr.Tab("Over time"):
                        timeline = gr.Plot(show_label=False, elem_id="gk-time")
                    with gr.Tab("Threshold"):
                        cut = gr.Slider(
                            0, 1, value=0.5, step=0.001, label="Called fake from this score on",
                            elem_id="gk-cut",
                        )  # fmt: skip
                        source = gr.HTML("", elem_id="gk-rates")
                        with gr.Row():
                            share = gr.Number(
                                1.0, label="Fakes among your files (%)", minimum=0.001,
                                maximum=99.9, elem_id="gk-share", min_width=90,
                            )  # fmt: skip
                            fpr = gr.Number(
                                10.0, label="Reals called fake (%)", minimum=0, maximum=100,
                                elem_id="gk-fpr", min_width=90,
                            )  # fmt: skip
                            tpr = gr.Number(
                                80.0, label="Fakes found (%)", minimum=0, maximum=100,
                                elem_id="gk-tpr", min_width=90,
                            )  # fmt: skip
                        worth = gr.HTML("", elem_id="gk-worth")
                        curve = gr.Plot(show_label=False, elem_id="gk-curve")
                        calls = gr.HTML("", elem_id="gk-calls")
                    with gr.Tab("Save"):
                        saves = gr.HTML(
                            "<p>Nothing to save yet: no file has a score.</p>", elem_id="gk-saves"
                        )
        model.change(
            lambda name: gr.update(visible=own and name == OWN), model, folder,
            queue=False, **private,
        )  # fmt: skip
        start.click(
            run,
            [upload, chosen, model, folder, rule, n, stride, level, scale, size, faces, how,
             remember],
            [state_line, table, meaning, frames, crops, timeline, saves, cut, remember, upload,
             start, halt],
            show_progress_on=[state_line], concurrency_limit=1, **private,
        )  # fmt: skip
        halt.click(stop, None, None, queue=False, **private)
        # all in one step, and by hand only below: two answers could overtake each other
        gr.on(
            [cut.change, remember.change], at_threshold, [remember, cut, share, fpr, tpr],
            [source, fpr, tpr, calls, worth, curve], queue=False, show_progress="hidden",
            trigger_mode="always_last", **private,
        )  # fmt: skip
        gr.on(
            [share.input, fpr.input, tpr.input], explored, [remember, cut, share, fpr, tpr],
            [calls, worth, curve], queue=False, show_progress="hidden",
            trigger_mode="always_last", **private,
        )  # fmt: skip
        page.unload(stop)
    return page.queue(default_concurrency_limit=1, max_size=limits.waiting, api_open=False)


def _whole(value: Any) -> Any:
    """Turn 8.0 from a page into 8; leave the rest for the check of the settings."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _videos(name: str) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        return explore.select_videos(name)
    except ValueError as error:
        _LOG.warning("scores beside the model are not read: %s", error)
        return None
