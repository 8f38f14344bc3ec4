"""The pipeline of several slimming passes."""
