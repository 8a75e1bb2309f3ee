"""What happens to a tool call besides its time in the trace: it waits for a worker, is cut short, fails, is retried.

Begin with `runner.py`, a call in simulated time. What becomes of a call is drawn in `outcomes.py` from the seed, the
program and the turn alone, so that every policy meets the same failures; keep it so.
"""

from continuum_sim.world.tools.config import PerTool, ToolConfig, make_tool_config
from continuum_sim.world.tools.outcomes import CallPlan, ToolOutcomes
from continuum_sim.world.tools.runner import ToolRunner, ToolTotals

__all__ = ["CallPlan", "PerTool", "ToolConfig", "ToolOutcomes", "ToolRunner", "ToolTotals", "make_tool_config"]
