"""The figures that come with continuum-sim, a module each; `continuum_sim.plotting.registry` knows their names."""
