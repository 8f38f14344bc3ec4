"""Wiring only: the pipelines, how they are compiled, and how they are run."""
