"""The `fine_tune` step."""
