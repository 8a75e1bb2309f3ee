"""A run or a comparison as one self-contained HTML page: numbers, pictures, an interactive timeline."""

from continuum_sim.report.write import write_report

__all__ = ["write_report"]
