"""Measurements of netslim. Each module is one benchmark: `python -m benchmarks.engine --help`."""
