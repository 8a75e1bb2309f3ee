"""From what a user asks to what runs: settings, their notation, the names looked up, the trace read.

`run_config.RunConfig` holds every setting of a run once; flags, signatures, sweep axes and pages follow from its
fields. `resolve.resolve` makes of it what `runs.execute` carries out. Nothing here simulates.
"""
