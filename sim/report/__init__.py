"""A run or a comparison as one HTML page with everything in it: numbers, pictures, an interactive timeline.

Begin with `write.py`. The rows come from `results/view` and are only laid out here (`layout.py`). The page needs no
network and holds names from users' files as text.
"""

from continuum_sim.report.write import write_report

__all__ = ["write_report"]
