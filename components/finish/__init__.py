"""The `finish` step."""
