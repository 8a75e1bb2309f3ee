"""Read Hugging Face configurations: fields, lengths, layers, weights and how they are stored."""

from continuum_sim.hardware.hf.reader import read_hf_config, read_model

__all__ = ["read_hf_config", "read_model"]
