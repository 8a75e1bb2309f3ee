"""What a multimodal model holds besides its language model: towers for images and sound, and their connectors."""

from continuum_sim.hardware.hf.towers.read import tower_weights

__all__ = ["tower_weights"]
