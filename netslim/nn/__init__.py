"""Small utilities for `nn.Module`s, used by every other room."""
