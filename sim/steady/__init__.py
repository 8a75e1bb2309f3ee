"""Whether a load can last: the verdict on a run, and the rates that follow from a service curve.

Begin with `verdict.py`, which decides from `backlog.py` whether a queue grew. The statistics are pure functions of
what a run recorded; their error rates are tested in `tests/sim/steady`, so rerun those after a change.
"""
