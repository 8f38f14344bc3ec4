"""Training batches: from memory, or streamed from image files."""
