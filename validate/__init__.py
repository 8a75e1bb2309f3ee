"""Everything that touches a real engine: validation, calibration, parity, backtests and the plug-in for vLLM.

vLLM is imported inside functions only, so importing this package costs nothing and works without vLLM. Begin with
`session/validation.py`, a validation from start to end. `sim` knows nothing of this package, whose commands it finds by
entry points.
"""
