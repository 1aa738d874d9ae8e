"""What setup.cfg cannot say: all packages found, and the sample of data/retail as one more."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["tfrs_twotower", "tfrs_twotower.*"]), "tfrs_twotower.retail_sample"])
