"""gendkit: an executable book on deepfake detection that generalises (the GenD method).

Importing the package loads nothing heavy; import what you need: `from gendkit import metrics`.
`gendkit.from_pretrained` loads a released GenD model, a saved detector or an adapter (see `hub`).
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "from_pretrained"]


def from_pretrained(source: Any, **options: Any) -> Any:
    """Load a detector: `hub.from_pretrained` with the same arguments, imported when called.

    Args:
        source: "yermandy/GenD_CLIP_L_14", another hub id, or a local folder.
        **options: base, revision, cache_dir, local_files_only.

    Returns:
        GenDForImageClassification in evaluation mode.

    Raises:
        ValueError: If the layout or a tensor does not fit.
        FileNotFoundError: If files are neither there nor to be had.
    """
    from importlib import import_module

    return import_module("gendkit.hub").from_pretrained(source, **options)
