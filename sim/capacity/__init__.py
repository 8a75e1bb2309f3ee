"""What a service sustains: its service curve, and the loads it recovers from and holds, measured and predicted."""
