"""The tables and figures of the network slimming paper: `python -m benchmarks.paper --help`."""
