"""Work side by side: a thread that decodes ahead, a thread that writes, and a clock for the stages."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
STAGES = ("decode", "detect", "landmarks", "align", "write")
_END = object()


class Clock:
    """Adds up the seconds of each stage; every stage belongs to one thread.

    The stages of one video overlap, so their sum may exceed the time that passed.

    Attributes:
        seconds: stage -> seconds.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def add(self, seconds: dict[str, float]) -> None:
        """Add the seconds of another clock."""
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def find(self, engine: Any, images: list) -> list:
        """Run a face engine and count its time; one that keeps no `seconds` counts as "detect"."""
        before, start = dict(getattr(engine, "seconds", {})), time.perf_counter()
        found = engine(images)
        if before:
            self.add({name: engine.seconds[name] - before[name] for name in before})
        else:
            self.seconds["detect"] += time.perf_counter() - start
        return found


def ahead(items: Iterator[Item], depth: int = 1) -> Iterator[Item]:
    """Run an iterator in a thread that stays at most `depth` + 1 items ahead.

    Close it (`contextlib.closing`) where it may not be read to its end: the thread ends then.

    Args:
        items: run in the thread only; what it raises is raised here, after the items before it.
        depth: items that wait.

    Yields:
        The items in their order.
    """
    waiting: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:  # noqa: BLE001 (raised again in the reading thread)
            put((_END, error))

    thread = threading.Thread(target=work, name="gendkit-decode", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


class Writer:
    """Does jobs in a thread, in order, with a few waiting; the first error stops it.

    Args:
        depth: jobs that may wait before `put` waits, too.
    """

    def __init__(self, depth: int = 8) -> None:
        self._jobs: queue.Queue = queue.Queue(depth)
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="gendkit-write", daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Hand over a job.

        Raises:
            BaseException: what an earlier job raised.
        """
        self._raise()
        self._jobs.put(job)

    def finish(self) -> None:
        """Wait until all is done, and end the thread.

        Raises:
            BaseException: what a job raised.
        """
        self._join()
        self._raise()

    def abort(self) -> None:
        """Drop what waits, and end the thread; after `finish` nothing is left to do."""
        self._stopped = True
        self._join()

    def _join(self) -> None:
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is None and not self._stopped:
                try:
                    job()
                except BaseException as error:  # noqa: BLE001 (raised again by put or finish)
                    self._error = error
