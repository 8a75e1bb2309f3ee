"""The figures that come with continuum-sim, one module each; `continuum_sim.plotting.registry` knows their names."""
