"""Whether a load can last: the verdict on a run, and the rates that follow from a service curve."""
