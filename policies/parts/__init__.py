"""What several rules are built of: which pins yield, what is kept beside pins, windows and levels."""
