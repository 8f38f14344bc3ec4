"""What all tests share."""

import torch

# PyTorch tells some warnings once per process; the test that hears one first should not be the only one to
# fail.
torch.set_warn_always(True)
