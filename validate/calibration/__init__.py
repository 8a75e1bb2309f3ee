"""Measure an engine: step times over a grid of batches, and the delays between engine and client."""
