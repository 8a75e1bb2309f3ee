"""`python -m continuum_sim`."""

from continuum_sim.cli import main

main()
