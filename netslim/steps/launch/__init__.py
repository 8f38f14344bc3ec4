"""Training in several processes (torchrun) or on several nodes (Kubeflow Trainer)."""
