"""The library's entry points: one run, several policies side by side, a run repeated from its manifest.

`execute.execute` carries out one resolved run; `api` and `comparison` hold what `import continuum_sim` offers.
Sweeps and capacities have folders of their own.
"""
