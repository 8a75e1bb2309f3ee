"""What pyproject.toml cannot say: the compiled modules, of which there are none unless they are asked for."""

from continuum_sim_build import extensions
from setuptools import setup

setup(ext_modules=extensions)
