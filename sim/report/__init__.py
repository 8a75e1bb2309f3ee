"""A run or a comparison as one HTML page with everything in it: numbers, pictures, an interactive timeline."""

from continuum_sim.report.write import write_report

__all__ = ["write_report"]
