"""Real engines behind one small interface: vLLM in this process, or a running server over HTTP."""
