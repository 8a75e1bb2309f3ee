"""Judge a validation: what was observed, what the simulator predicted, and how far apart they are."""
