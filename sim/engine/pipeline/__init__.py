"""Engines whose layers are split over stages: several batches under way, each at a stage of its own.

Begin with `stages.py` (when a batch leaves which stage), then `batch.py` (what vLLM plans while others are under way).
"""
