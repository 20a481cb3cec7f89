"""Which detectors the app offers, and the one that is loaded."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gendkit import score
from gendkit.app.limits import UploadError
from gendkit.layouts import RELEASED

EMBEDDED = "embedded"
OWN = "own folder"


def choices(model: str | None = None, own: bool = True) -> list[str]:
    """List the detectors to choose from, the usual one first.

    Args:
        model: What the command line asked for; None for the embedded detector.
        own: Whether a folder may be named in the page.
    """
    named = [EMBEDDED, *RELEASED]
    if model and model not in named:
        named.insert(0, model)
    elif model:
        named.insert(0, named.pop(named.index(model)))
    return named + ([OWN] if own else [])


class Shelf:
    """Holds one detector and one face engine; another one is loaded when it is asked for.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        allowed: The names that a page may ask for.
        load: Loads a detector by name or folder.
    """

    def __init__(
        self,
        device: str = "auto",
        allowed: list[str] | None = None,
        load: Callable[..., Any] = score.load,
    ) -> None:
        self.device, self._load = device, load
        self.allowed = choices() if allowed is None else allowed
        self._lock = threading.Lock()
        self._name = ""
        self._detector: Any = None
        self._engine: Any = None

    def detector(self, choice: str, folder: str = "") -> Any:
        """Give a detector.

        Args:
            choice: One of the names allowed.
            folder: With the choice "own folder": where it lies.

        Returns:
            As `score.load` gives it.

        Raises:
            UploadError: If the choice is not allowed or cannot be loaded; says why.
        """
        if choice not in self.allowed:
            raise UploadError(f"the model {choice!r} is not offered; choose one of the list.")
        name = choice
        if choice == OWN:
            name = folder.strip()
            if not name:
                raise UploadError("give the folder of your model: of a run, an adapter or a model.")
            if not Path(name).expanduser().is_dir():
                raise UploadError(f"{name!r} is no folder on this computer; give its full path.")
            name = str(Path(name).expanduser())
        with self._lock:
            if name != self._name:
                self._name, self._detector = "", None  # two large models need not fit
                try:
                    self._detector = self._load(name, self.device)
                except (ValueError, OSError, ImportError, KeyError) as error:
                    raise UploadError(f"the model {name} cannot be loaded: {error}") from error
                self._name = name
            return self._detector

    def engine(self, threshold: float = 0.0) -> Any:
        """Give the face engine, set to a detection threshold.

        Raises:
            UploadError: If a package or weights are missing; says which.
        """
        from gendkit.faces import FaceEngine

        with self._lock:
            if self._engine is None:
                try:
                    self._engine = FaceEngine(device=self.device)
                except (ImportError, OSError) as error:
                    raise UploadError(f"faces cannot be found here: {error}") from error
            self._engine.threshold = float(threshold)
            return self._engine
