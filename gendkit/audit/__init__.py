"""Audits of a set of videos: shortcuts, near-duplicates, leaks, balance, reals that columns share."""

from gendkit.audit.columns import balance, measured, shared_reals
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
    "balance",
    "collect",
    "cosine_hash",
    "disjointness",
    "main",
    "measured",
    "near_duplicates",
    "probe",
    "probes",
    "separability",
    "shared_reals",
]
