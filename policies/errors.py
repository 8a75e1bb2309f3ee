"""The one error of this package."""


class PolicyError(ValueError):
    """An unknown policy or plane, an unknown parameter, or a value out of range; the text is one clear line."""
