"""What happens to a tool call besides its time in the trace: it waits for a worker, is cut short, fails, is retried."""

from continuum_sim.world.tools.config import PerTool, ToolConfig, make_tool_config
from continuum_sim.world.tools.outcomes import CallPlan, ToolOutcomes
from continuum_sim.world.tools.runner import ToolRunner, ToolTotals

__all__ = ["CallPlan", "PerTool", "ToolConfig", "ToolOutcomes", "ToolRunner", "ToolTotals", "make_tool_config"]
