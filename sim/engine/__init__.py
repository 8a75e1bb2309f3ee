"""The simulated engine: scheduler, block pool and the process that steps them through time."""
