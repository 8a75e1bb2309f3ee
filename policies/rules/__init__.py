"""One published rule per file, each registered under its name when the package is imported."""
