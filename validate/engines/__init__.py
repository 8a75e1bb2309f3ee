"""Real engines behind one small interface: vLLM in this process, or a running server over HTTP.

`interface.py` is all that replay and calibration know of an engine; tests stand the simulator behind it. Whatever
starts an engine must also end its processes when it fails or is stopped (`processes.py`).
"""
