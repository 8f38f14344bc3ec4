"""The paper in 60 lines: examples/slim.py ends with a much smaller network and nearly the same error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "slim.py"


def last_lines(text: str) -> dict[str, tuple[int, int, float]]:
    """Parameters, FLOPs and error in percent of the wide and of the slim network."""
    found = re.findall(r"^(wide|slim): ([\d,]+) parameters, ([\d,]+) FLOPs, ([\d.]+) % error$", text, re.M)
    return {
        name: (int(params.replace(",", "")), int(flops.replace(",", "")), float(error))
        for name, params, flops, error in found
    }


def test_several_passes_end_with_a_small_network_of_nearly_the_same_error() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    result = last_lines(done.stdout)
    (wide_params, wide_flops, wide_error), (params, flops, error) = result["wide"], result["slim"]
    assert "pass 2" in done.stdout
    assert params < wide_params / 4
    assert flops < wide_flops / 4
    assert wide_error < 4
    assert error <= wide_error + 1.5
