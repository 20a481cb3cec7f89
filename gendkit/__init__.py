"""gendkit: an executable book on deepfake detection that generalises (the GenD method).

Importing the package loads nothing heavy; import what you need: `from gendkit import metrics`.
"""

__version__ = "0.1.0"
