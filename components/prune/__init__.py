"""The `prune` step."""
