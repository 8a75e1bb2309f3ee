"""Whether a load can be sustained: the verdict on a run, and the rates that follow from a service curve."""
