"""These tests need timm, which is not one of the usual tools: `make test-collections` installs it."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("timm") else ["test_timm.py"]
