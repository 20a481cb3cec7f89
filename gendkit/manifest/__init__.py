"""The table of samples: schema, reading and writing (`table`), and its audit (`audit`)."""

from gendkit.manifest.audit import SEVERITIES, audit
from gendkit.manifest.table import (
    COLUMNS,
    KEY,
    ROLES,
    ManifestError,
    components,
    pairs,
    read,
    resolve,
    split,
    validate,
    video_key,
    write,
)

__all__ = [
    "COLUMNS",
    "KEY",
    "ROLES",
    "SEVERITIES",
    "ManifestError",
    "audit",
    "components",
    "pairs",
    "read",
    "resolve",
    "split",
    "validate",
    "video_key",
    "write",
]
