"""python benchmarks/paper --help: the tables and figures of the network slimming paper, ours beside them."""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a folder, Python looks for modules in it; ours are named from the repository on.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    importlib.import_module("benchmarks.paper.command").main()
