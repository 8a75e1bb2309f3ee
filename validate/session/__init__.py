"""A validation as it runs: the workload, the replay on the engine, its pace and its files."""
