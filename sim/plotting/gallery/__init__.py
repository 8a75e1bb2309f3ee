"""The figures that come with continuum-sim, a module each; `plotting.registry` finds them by name.

`jct_cdf.py` is a short one to copy. A new figure is a new file with a `FigureSpec`, a test in `tests/sim/plotting`
and a row in `docs/figures.md`.
"""
