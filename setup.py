"""What the wheel installs: `netslim`, and below the one namespace `netslim_kfp` the steps and the pipelines.

The folders `components/` and `pipelines/` have names that any project may use, so they are not installed as
such. Everything else about the package is in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["netslim", "netslim.*"]),
        *(f"netslim_kfp.{name}" for name in find_packages(include=["components*", "pipelines*"])),
    ],
    package_dir={"netslim_kfp.components": "components", "netslim_kfp.pipelines": "pipelines"},
)
