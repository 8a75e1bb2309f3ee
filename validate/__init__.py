"""Everything that touches a real engine. vLLM is imported inside functions only, so importing this costs nothing."""
