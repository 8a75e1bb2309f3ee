"""One published rule, or one family of them, in each file, registered when the package is imported.

`stock.py` and `program_fifo.py` are the shortest, `ttl.py` is Continuum's. A new rule is a new file here with a preset
that cites its source, a test in `tests/policies/rules/` and a row in `docs/policies.md`. Rules see the past only;
those that look ahead say `oracle`.
"""
