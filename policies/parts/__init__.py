"""Parts that several rules share: which pins yield, soft pins, gates by window or capacity, queue order, levels."""
