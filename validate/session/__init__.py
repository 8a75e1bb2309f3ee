"""A running validation: its workload, the replay on the engine, its pace and its files."""
