"""The pipelines: how they are wired, compiled and run. The work is done by netslim and the components."""
