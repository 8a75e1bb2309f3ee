"""Helpers that several test packages share; found through `pythonpath = ["tests"]` in pyproject.toml."""
