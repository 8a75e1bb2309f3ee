"""Measuring an engine: step times over a grid of batches, and the delays between engine and client.

Begin with `calibrate.py`; `points.py` is the grid, `measure.py` one point of it. Every measured point is kept at once
(`store.py`), so that an interrupted calibration resumes. What is fitted is a model of `sim/steptime`.
"""
