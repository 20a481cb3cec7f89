"""The app's own folder: uploads go in, are taken for one request, and nothing stays."""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gendkit.app.limits import UploadError, inside, shown_name

_PREFIX = "gendkit-app-"
_ABANDONED = 10.0  # seconds without a new byte after which an upload is taken as broken off
_LOG = logging.getLogger(__name__)


def make_home() -> Path:
    """Make the private folder of one running app, and remove those of apps that were killed."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_PREFIX}[0-9]*-*"):
        pid = old.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not _alive(int(pid)) and old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")).resolve()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def taken(paths: Sequence[str] | None, home: Path) -> Iterator[list[tuple[str, Path | str]]]:
    """Take uploads out of the common folder for one request; they are deleted at its end.

    Args:
        paths: Files as the page sent them.
        home: The app's folder; a path that leads elsewhere is not touched.

    Yields:
        (name to show, file) in order, each file once. The file of a path that leads elsewhere is
        one that does not exist, so that it gets a message.
    """
    work = Path(tempfile.mkdtemp(prefix="work-", dir=home))
    try:
        out: list[tuple[str, Path]] = []
        for k, path in enumerate(dict.fromkeys(paths or [])):
            target = work / f"{k}{Path(path).suffix.lower()[:6]}"
            try:
                source = inside(path, home)
                os.replace(source, target)
                _drop_empty(source.parent, home)
            except UploadError as error:
                _LOG.warning("refused a path: %s", error)
            except (OSError, ValueError):  # gone, or no path at all: it is told as missing
                pass
            out.append((shown_name(path), target))
        yield out
    finally:
        shutil.rmtree(work, ignore_errors=True)
        sweep(home)


def _drop_empty(folder: Path, home: Path) -> None:
    if folder != home and folder.is_relative_to(home):
        try:
            folder.rmdir()
        except OSError:  # another upload lies there
            pass


def sweep(home: Path, keep_seconds: float | None = None) -> int:
    """Delete what nobody will use.

    An upload on its way lies directly in `home`, is open in this process and grows; a finished one
    lies in a folder of its own. Gradio also leaves an empty file for every file it hands over, and
    what had come of an upload that was broken off.

    Args:
        home: The app's folder.
        keep_seconds: Finished uploads older than this go, too; None keeps them all.

    Returns:
        How many files were deleted.
    """
    n, now, busy = 0, time.time(), _open_here()
    for path in sorted(home.rglob("*"), key=lambda p: -len(p.parts)):
        try:
            facts = path.lstat()
            age = now - facts.st_mtime
            if path.is_dir() and not path.is_symlink():
                if not path.name.startswith("work-") and age > 1:
                    path.rmdir()
                continue
            if path.parent == home:
                known_closed = busy is not None and str(path) not in busy
                old = age > _ABANDONED if facts.st_size or not known_closed else True
            else:
                old = keep_seconds is not None and age > keep_seconds
            if old and not (busy and str(path) in busy):
                path.unlink()
                n += 1
        except OSError:  # used by another request, not empty, or gone already
            continue
    return n


def _open_here() -> set[str] | None:
    """Files that this process has open; None where the system does not tell."""
    try:
        links = list(os.scandir("/proc/self/fd"))
    except OSError:
        return None
    found = set()
    for link in links:
        try:
            found.add(os.readlink(link.path))
        except OSError:  # closed meanwhile
            continue
    return found


class Reaper:
    """Deletes uploads that were never scored, from a thread, while the app runs.

    Args:
        home: The app's folder.
        keep_seconds: Age from which on they go.
        every: Seconds between two looks.
    """

    def __init__(self, home: Path, keep_seconds: float, every: float = 5.0) -> None:
        self.home, self.keep_seconds, self.every = home, keep_seconds, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(self.every):
            sweep(self.home, self.keep_seconds)

    def close(self) -> None:
        """End the thread and delete the folder with all that is in it."""
        self._end.set()
        self._thread.join(timeout=5)
        remove(self.home)


def remove(home: Path) -> None:
    """Delete the app's folder with all that is in it."""
    shutil.rmtree(home, ignore_errors=True)
