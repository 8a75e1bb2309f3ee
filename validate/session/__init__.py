"""A validation as it runs: the workload, the replay on the engine, its pace and its files.

Begin with `validation.py`. Predictions are written down before the engine runs, and replays are token-consistent
(`tokens.py`): keep both, as the comparison means nothing without them.
"""
