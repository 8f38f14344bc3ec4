"""docs/api.md is current, and the public names are those that were decided."""

from __future__ import annotations

from docs import api

PUBLIC = {
    "netslim": {
        *("Cost", "Plan", "PruneResult", "PruningOptions", "Recipe", "Sensitivity", "apply_plan", "count"),
        *("load_model", "preflight", "preview", "prune", "recalibrate", "register_rule", "save"),
        *("sensitivity", "train"),
    },
    "netslim.sparsity": {
        *("NEAR_ZERO_SHARE_AT", "ZERO_GAMMA", "SparsityStats", "add_l1_subgradient", "add_smooth_l1"),
        *("apply_proximal", "scaling_factors", "statistics"),
    },
    "netslim.models": {"Architecture", "build", "check_fit", "check_name", "names", "resolve"},
    "netslim.data": {
        *("PAPER_VALIDATION", "DatasetInfo", "ImageFiles", "PackedDataset", "Split", "names", "open_dataset"),
        "prepare",
    },
    "netslim.training.distributed": {"process_group"},
    "netslim.bundle.verify": {"CheckResult", "require_good", "verify"},
    "netslim.bundle.publish": {"publish"},
    "netslim.bundle.sign": {"sign"},
    "netslim.errors": {
        *("BundleError", "ConfigError", "DataError", "ExportError", "ModelError", "NetslimError"),
        *("PipelineError", "StorageError", "TrackingError", "TrainingError"),
    },
}
"""A name that is added or removed here is a change for users: write it into the changelog."""


def test_the_public_names_are_those_that_were_decided() -> None:
    assert {module: set(names) for module, names in api.public_names().items()} == PUBLIC


def test_the_page_is_current() -> None:
    assert api.PAGE.read_text(encoding="utf-8") == api.render(), "run: make api"


def test_the_page_has_an_entry_for_each_public_name() -> None:
    text = api.PAGE.read_text(encoding="utf-8")
    for module, names in PUBLIC.items():
        for name in names:
            assert f"\n### {module}.{name}\n" in text


def function(first: int, *rest: str, flag: bool = True, text: str = "a") -> None:
    """Do something.

    Args:
        first: a number.
    """


def test_an_entry_has_the_signature_and_the_docstring() -> None:
    assert api._entry("room", "function", function) == (
        "### room.function\n\n```python\n"
        "function(first: int, *rest: str, flag: bool = True, text: str = 'a') -> None\n```\n\n"
        "Do something.\n\n```text\nArgs:\n    first: a number.\n```\n"
    )
