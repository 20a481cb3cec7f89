"""Audits of a set of videos: shortcuts, near-duplicates, people and scenes that cross roles."""

from gendkit.audit.command import disjointness, main
from gendkit.audit.duplicates import cosine_hash, near_duplicates
from gendkit.audit.shortcuts import (
    KINDS,
    AuditError,
    Probe,
    as_table,
    collect,
    probe,
    probes,
    separability,
)

__all__ = [
    "KINDS",
    "AuditError",
    "Probe",
    "as_table",
    "collect",
    "cosine_hash",
    "disjointness",
    "main",
    "near_duplicates",
    "probe",
    "probes",
    "separability",
]
