"""What runs a policy, shared by the simulator and the plug-in for vLLM: it imports neither of them."""
