"""One published rule a file, each registered under its name when the package is imported."""
