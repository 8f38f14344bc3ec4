"""What all tests share."""

import sys


def pytest_runtest_setup() -> None:
    """PyTorch gives some warnings once per process. Each test gets them, not only the first that causes one.

    Tests that need no torch must not wait for its import, so it is only looked up here.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_warn_always(True)
