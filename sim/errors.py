"""Errors a user can mend; the command line prints their text and exits with code 2."""


class ConfigError(ValueError):
    """A setting or a combination of settings that cannot work; the text is one clear line."""


def shown(value: object) -> str:
    """Return a value as Python writes it, short enough for the line of an error."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of about {value.bit_length() * 30103 // 100000 + 1} digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


class SimulationError(RuntimeError):
    """The simulated engine stands still with work left; says which policy holds it back."""
