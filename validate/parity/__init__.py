"""Step-by-step comparison of the simulated scheduler with vLLM's own."""
