"""What README.md and the pages of `docs/` say that the program prints: found, run, and written again."""
