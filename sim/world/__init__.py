"""What happens around the engines: programs that arrive, alternate turns with tool calls, and leave records behind.

`simulation.Simulation` is the story of a run, `cluster` sends its turns to replicas, `tools` has the calls between
them. The replicas themselves are `engine/`.
"""
