"""Memory below the KV cache: host DRAM and SSD, the links to them, and what moves over these.

The scheduler knows `connector.py` alone, which has the names of vLLM's KV connectors and a null object for engines
without a tier; begin there. `tiers.py` decides what goes down and comes up, and `tier.py` holds it. Compiled by mypyc.
"""
