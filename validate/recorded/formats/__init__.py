"""Formats of recordings that `backtest` reads: one file each, found by itself, or an entry point of another package.

Each file defines one `RecordedFormat`. What clients wrote is checked and put in order by `client.py` one folder up.
"""
