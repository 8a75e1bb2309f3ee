"""What carries out a policy's answers, for the simulator and the vLLM plug-in alike; it imports neither.

Begin with `governor.py`: it is told what happens, asks the policy, and returns what to do. `queue.py` has the only copy
of the rules of the waiting queue. A change here changes both engines, so run `tests/policies/host`,
`tests/validate/plugin` and `parity --random 200` after it. The modules are compiled by mypyc.
"""
