"""What a multimodal model holds beside its language model: towers for images and sound, and what joins them to it."""

from continuum_sim.hardware.hf.towers.read import tower_weights

__all__ = ["tower_weights"]
