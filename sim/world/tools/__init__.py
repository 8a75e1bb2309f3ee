"""Tool calls beyond their time in the trace: they wait for workers, are cut short, fail, and are retried."""

from continuum_sim.world.tools.config import PerTool, ToolConfig, make_tool_config
from continuum_sim.world.tools.outcomes import CallPlan, ToolOutcomes
from continuum_sim.world.tools.runner import ToolRunner, ToolTotals

__all__ = ["CallPlan", "PerTool", "ToolConfig", "ToolOutcomes", "ToolRunner", "ToolTotals", "make_tool_config"]
