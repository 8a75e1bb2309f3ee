"""What is made of a validation: what was observed, what the simulator predicted, and how far apart they are.

Begin with `assess.py`. It compares what `predict.py` said before any run with what the engine did, both of them in the
form of `observed.py`; `reenact.py` tells errors of step time from errors of scheduling. Nothing here starts an engine.
"""
