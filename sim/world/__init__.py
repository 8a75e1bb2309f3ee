"""The world around the engines: programs arrive, alternate turns with tool calls, and leave records behind.

`simulation.Simulation` is the story of a run, `cluster` sends turns to replicas, and `tools` runs the calls between
turns. The replicas themselves are in `engine/`.
"""
