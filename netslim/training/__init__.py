"""Training: sparse training (paper, section 3), fine-tuning, and the evaluation of PyTorch models."""
