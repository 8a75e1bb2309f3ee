"""Everything that touches a real engine. vLLM is imported only inside functions, so importing this package is cheap."""
