"""From what a user asks for to what runs: parse settings, look up names, read the trace.

`run_config.RunConfig` declares every setting of a run once; flags, signatures, sweep axes and docs tables are derived
from its fields. `resolve.resolve` turns it into what `runs.execute` carries out. Nothing here simulates.
"""
