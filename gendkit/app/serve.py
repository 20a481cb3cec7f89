"""Start the app and end it without a trace: only this computer, no request to elsewhere."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendkit.app import files, models
from gendkit.app.limits import Limits, is_loopback

PORTS = (7860, 7959)
# The browser itself refuses to ask any other address; data: and blob: are parts of the page.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)


@dataclass(frozen=True)
class Served:
    """A running app: its address, its folder for uploads, and Gradio's page."""

    url: str
    home: Path
    page: Any


def check_host(host: str, i_know: bool) -> None:
    """Refuse to be reachable from other computers unless that was asked for.

    Raises:
        ValueError: If the host is not this computer and `i_know` is False.
    """
    if not is_loopback(host) and not i_know:
        raise ValueError(
            f"got host {host!r}, which other computers can reach: anyone there could use this "
            "computer, and the app has no login. Use 127.0.0.1, over SSH with `ssh -L "
            "7860:127.0.0.1:7860 HOST`, or add --i-know."
        )


def _quiet() -> None:
    """Switch off what Gradio and the hub library would report to their makers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"


class _Guard:
    """Adds the headers that keep the page to this app, and refuses foreign host names."""

    def __init__(self, app: Any, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        name = given.rsplit(":", 1)[0] if not given.endswith("]") else given
        if (
            self.hosts and name not in self.hosts
        ):  # a web page that points its name at this computer
            start = {"type": "http.response.start", "status": 421, "headers": []}
            await send(start)
            await send({"type": "http.response.body", "body": b"unknown host name"})
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [
                    (b"content-security-policy", _POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cache-control", b"no-store"),
                ]
                names = {name for name, _ in extra}
                old = [pair for pair in message["headers"] if pair[0].lower() not in names]
                message = {**message, "headers": [*old, *extra]}
            await send(message)

        await self.app(scope, receive, guarded)


@contextlib.contextmanager
def serving(
    host: str = "127.0.0.1",
    port: int | None = None,
    model: str | None = None,
    limits: Limits | None = None,
    i_know: bool = False,
    device: str = "auto",
    shelf: models.Shelf | None = None,
) -> Iterator[Served]:
    """Run the app for the time of a block; afterwards nothing of it is left.

    Args:
        host: Where to listen.
        port: None takes a free one from 7860 on.
        model: What `score.load` takes; it is loaded before the app answers, so that a wrong name
            shows at once. None for the embedded detector.
        limits: What is allowed.
        i_know: Listen on a host that others can reach; folders cannot be named in the page then.
        device: "auto", "cpu", "cuda" or "mps".
        shelf: In place of model and device.

    Yields:
        The running app.

    Raises:
        ValueError: If the host is refused or the model cannot be loaded.
        OSError: If the port is taken.
        ImportError: If Gradio is missing.
    """
    check_host(host, i_know)
    _quiet()
    own = is_loopback(host)
    names = models.choices(model, own)
    shelf = shelf or models.Shelf(device, names)
    home = files.make_home()
    os.environ["GRADIO_TEMP_DIR"] = str(home)
    reaper = None
    try:
        gradio = _gradio()
        from gendkit.app import ui
        from gendkit.app.look import CSS
        from gendkit.score import interpreted

        limits = limits or Limits()
        shelf.detector(names[0])
        shelf.engine()
        reaper = files.Reaper(home, limits.keep_seconds)
        page = ui.build(ui.Work(shelf, limits, home), names, own)
        fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
        from starlette.middleware import Middleware

        hosts = frozenset({"127.0.0.1", "localhost", "[::1]", host.lower()}) if own else frozenset()
        with interpreted():
            _, url, _ = page.launch(
                server_name=host,
                server_port=port,
                share=False,
                inbrowser=False,
                prevent_thread_lock=True,
                quiet=True,
                show_error=False,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                max_file_size=int(limits.max_mb * 1e6),
                max_threads=8,
                allowed_paths=[],
                blocked_paths=[],
                strict_cors=True,
                state_session_capacity=100,
                theme=gradio.themes.Default(font=fonts[0], font_mono=fonts[1]),
                css=CSS,
                app_kwargs={"middleware": [Middleware(_Guard, hosts=hosts)], "docs_url": None},
            )
            try:
                yield Served(url, home, page)
            finally:
                page.close(verbose=False)
    finally:
        if reaper is not None:
            reaper.close()
        else:
            files.remove(home)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            f"the app needs Gradio, which does not import here ({error}); install it with "
            "`pip install 'gendkit[app]'`, from a checkout `pip install -e '.[app]'`"
        ) from error
    return gradio


def run(**options: Any) -> None:
    """Run the app until Ctrl-C or SIGTERM.

    Args:
        options: As for `serving`.
    """
    over = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: over.set())
    with serving(**options) as served:
        print(f"gendkit app: {served.url}", flush=True)
        print("Ctrl-C ends it; uploads are then deleted.", file=sys.stderr, flush=True)
        while not over.wait(0.5):
            pass
