"""Turn the outputs of an executed notebook into HTML that needs no network.

Plotly leaves a figure as data. Here it becomes a div that the one shared `_static/plotly.min.js` draws, with
the alt text of the figure as its label. Every picture must have alt text; widgets are refused.
"""

import html
import json
import re
from collections.abc import Mapping
from typing import Any

import nbformat

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
SCRIPT = "_static/plotly.min.js"
NARROW_PX = 500  # a phone: smaller letters inside the figure
CITED = re.compile(r"\[@([\w:-]+)\]")  # a key of references.bib; notebooks are plain Markdown
# what `gendkit.repro.progress` prints while it waits
PROGRESS = re.compile(r"^.+: \d+ % \(\d+/\d+\), \d+ s, ETA \d+ s\n", re.MULTILINE)
TITLE_PX = 55  # what title and caption line take inside a figure


class FigureError(ValueError):
    """An output that a reader could not see or hear; the message names the cell."""


def _json(data: Any) -> str:
    # "<" could close the script element from inside a string
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _title_out(layout: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Take title and caption line out of a layout, as text of the page: only there do they wrap."""
    title = layout.get("title") or {}
    title = {"text": title} if isinstance(title, str) else title
    lines = [title.get("text") or "", (title.get("subtitle") or {}).get("text") or ""]
    if not lines[0]:
        return layout, ""
    kept = {k: v for k, v in layout.items() if k != "title"}
    style = ((layout.get("template") or {}).get("layout") or {}).get("margin") or {}
    margin = {**style, **(layout.get("margin") or {})}
    cut = min(TITLE_PX, max(0, margin.get("t", 100) - 20))
    kept["margin"] = {**margin, "t": margin.get("t", 100) - cut}
    kept["height"] = int(layout.get("height") or 450) - cut
    text = [html.escape(line).replace("&lt;br&gt;", " ") for line in lines]
    below = f'<p class="gendkit-facts">{text[1]}</p>' if text[1] else ""
    return kept, f'<p class="gendkit-title">{text[0]}</p>{below}'


def plotly_html(figure: Mapping[str, Any], div_id: str, where: str) -> str:
    """Write one figure as HTML.

    Args:
        figure: Plotly JSON with `data` and `layout`; `layout.meta.alt` is the alt text,
            `layout.meta.caption` (optional) the caption below the figure, and `layout.meta.aspect`
            (optional) height over width of what is drawn, which the height then follows.
        div_id: Unique id in the page.
        where: Words for the error message, such as "code cell 3".

    Returns:
        A figure element; plotly.min.js must have been loaded before it.

    Raises:
        FigureError: If the figure has no alt text.
    """
    layout = dict(figure.get("layout", {}))
    meta = layout.get("meta") if isinstance(layout.get("meta"), dict) else {}
    alt, caption = str(meta.get("alt", "")).strip(), str(meta.get("caption", "")).strip()
    if not alt:
        raise FigureError(
            f"{where}: the figure has no alt text; set fig.update_layout(meta={{'alt': 'what it shows'}})"
        )
    layout, title = _title_out(layout)
    height = f"{int(layout.get('height') or 450)}px"
    if aspect := meta.get("aspect"):
        m = layout["margin"]
        height = f"calc({aspect:.4f} * (100cqw - {m['l'] + m['r']}px) + {m['t'] + m['b']}px)"
        layout.pop("height", None)
    config = {"responsive": True, "displaylogo": False, **figure.get("config", {})}
    config.pop("plotlyServerURL", None)
    narrow = "{...l, font: {...l.font, size: 11}}"
    if aspect:  # what is written below a picture shrinks with it
        size = "Math.min(11, Math.max(6, innerWidth / l.xaxis.range[1] / 8))"
        texts = f"l.annotations?.map(a => ({{...a, font: {{...a.font, size: {size}}}}}))"
        narrow = f"{{...l, annotations: {texts}}}"
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="gendkit-figure">{title}'
        f'<div id="{div_id}" class="gendkit-plot" role="img" aria-label="{html.escape(alt)}" '
        f'style="height:{height};width:100%"></div>'
        f"<script>Plotly.newPlot({_json(div_id)},{{data:{_json(figure.get('data', []))},"
        f"layout:(l => innerWidth < {NARROW_PX} ? {narrow} : l)"
        f"({_json(layout)}),config:{_json(config)},frames:{_json(figure.get('frames', []))}}});"
        f"</script><noscript>{html.escape(alt)}</noscript>{below}</figure>"
    )


def _picture(output: Any, mime: str, where: str) -> str:
    """An image output with its alt text from the output's metadata."""
    metadata = output.get("metadata", {})
    alt = metadata.get("alt") or (metadata.get(mime) or {}).get("alt", "")
    if not str(alt).strip():
        raise FigureError(
            f"{where}: the picture has no alt text; use display(image, metadata={{'alt': 'what it shows'}})"
        )
    source = "".join(output.data[mime].split())
    return f'<img class="gendkit-picture" alt="{html.escape(str(alt))}" src="data:{mime};base64,{source}">'


def _without_progress(output: Any) -> Any:
    """Take the lines of `repro.progress` out of printed text; None if nothing else was printed."""
    if output.output_type != "stream":
        return output
    text = "".join(output.text)
    output.text = PROGRESS.sub("", text)
    return output if output.text or not text else None


def publish(
    notebook: nbformat.NotebookNode, name: str, to_root: str = "../"
) -> nbformat.NotebookNode:
    """Make the copy of an executed notebook that the book shows.

    Args:
        notebook: The executed notebook; it is not changed.
        name: Stem of the notebook, used in ids.
        to_root: Path from the page to the folder that holds `_static`.

    Returns:
        A copy with plotly figures and pictures as HTML, citations ("[@key]") linked to the
        references, and without the machinery's metadata and the lines of progress. The cell of
        injected parameters stays only if it tells the reader something.

    Raises:
        FigureError: For a figure or picture without alt text, or a widget (it would be blank).
    """
    book = nbformat.from_dict(json.loads(json.dumps(notebook)))
    book.metadata = nbformat.from_dict({k: v for k, v in book.metadata.items() if k != "papermill"})
    figures = number = 0
    kept = []
    for cell in book.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "injected-parameters" in tags:
            lines = [s for s in cell.source.splitlines() if s and not s.startswith("#")]
            if all(s.startswith("out_dir") for s in lines):
                continue
        kept.append(cell)
        if cell.cell_type != "code":
            cell.source = CITED.sub(r"{cite}`\1`", cell.source)
            continue
        number += "injected-parameters" not in tags
        where = f"notebooks/{name}, code cell {number}"
        cell.outputs = [output for output in map(_without_progress, cell.outputs) if output]
        for output in cell.outputs:
            if output.output_type not in ("display_data", "execute_result"):
                continue
            if WIDGET in output.data:
                raise FigureError(
                    f"{where}: a widget is blank in the book; show text or a figure instead"
                )
            if PLOTLY in output.data:
                figures += 1
                load = f'<script src="{to_root}{SCRIPT}"></script>' if figures == 1 else ""
                figure = plotly_html(output.data[PLOTLY], f"{name}-figure-{figures}", where)
                output.data = nbformat.from_dict({"text/html": load + figure})
            elif picture := {"image/png", "image/jpeg"} & set(output.data):
                output.data = nbformat.from_dict(
                    {"text/html": _picture(output, picture.pop(), where)}
                )
            output.metadata = nbformat.from_dict({})
    book.cells = kept
    return book
