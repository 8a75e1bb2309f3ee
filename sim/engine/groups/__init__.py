"""KV cache groups: layers that keep the same part of a context share blocks, and all groups share one pool.

Begin with `spec.py`, which says what a group keeps and what of it can be found again; `lookup.py` finds the hit that
all agree on, and `manager.py` takes and frees blocks. `due.py` keeps the cost of a step down to the turns that take or
free any. Each rule here names what it mirrors in vLLM, and `parity` compares them.
"""
