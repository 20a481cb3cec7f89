"""The commands of `gendkit`, one module each; `gendkit.cli` forwards to them."""
