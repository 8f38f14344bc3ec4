"""Commands that run, compile and sweep pipelines."""
