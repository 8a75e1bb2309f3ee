"""The simulated engine: vLLM V1's scheduler over counted blocks, and the process that carries its steps through time.

Begin with `scheduler.py`, one step from top to bottom beside vLLM's file of that name; then `replica.py`, the loop
around it, and `jump.py`, the only file that knows of fast mode. Every decision mirrors vLLM's: after a change run
`tests/sim/engine` and `continuum-sim parity --random 200`. The modules are compiled by mypyc (CONTRIBUTING.md says what
that asks of them), and whatever runs at every step or turn must stay cheap.
"""
