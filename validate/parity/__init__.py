"""Step-by-step comparison of the simulated scheduler with vLLM's own, on one virtual clock.

Begin with `compare.py`. `random_cases.py` draws traces and settings that reach the corners of a scheduler: a difference
is a bug of ours until shown otherwise, so widen the cases and never the tolerance.
"""
