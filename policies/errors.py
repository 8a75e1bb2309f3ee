"""The one exception that this package raises."""


class PolicyError(ValueError):
    """Raised for an unknown policy, plane or parameter, or a value out of range; the message is one clear line."""
