"""What several rules are built of: which pins yield, who comes first, windows of programs, levels of service.

Begin with `pinned_first.py` and `pressure.py`, the order and the pins of the Continuum family. Write a part when a
second rule needs it, not before. A change here changes every rule that uses it, in simulated and real engines.
"""
