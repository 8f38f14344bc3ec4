"""The `train_sparse` step."""
