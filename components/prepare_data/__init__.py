"""The `prepare_data` step."""
