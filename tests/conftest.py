"""What all tests share."""

import sys

import pytest

from netslim.child_process import exit_quickly

SLOW = {
    "runs trainings": (
        "tests/benchmarks/test_paper.py",
        "tests/examples/test_slim.py",
        "tests/netslim/steps/test_pass.py",
        "tests/netslim/training/test_adversarial.py",
        "tests/netslim/training/test_distributed_training.py",
        "tests/netslim/training/test_graph_training.py",
        "tests/netslim/training/test_killed.py",
        "tests/netslim/training/test_resuming.py",
        "tests/netslim/training/test_train.py",
        "tests/netslim/training/test_train_step.py",
    ),
    "traces, exports or counts large networks": (
        "tests/netslim/models/test_factory.py::test_torchvision_classifiers_take_any_classes_and_channels",
        "tests/netslim/models/test_program.py",
        "tests/netslim/models/test_program_errors.py",
        "tests/netslim/onnx_export/test_export.py",
        "tests/netslim/onnx_export/test_export_errors.py",
        "tests/netslim/pruning/test_budget.py",
        "tests/netslim/pruning/test_random_graphs.py",
        "tests/netslim/test_cost.py::test_fvcore_counts_the_same",
        "tests/netslim/test_zoo.py",
    ),
    "makes bundles and checks them in processes": ("tests/netslim/bundle/",),
    "starts servers or processes": (
        "tests/netslim/steps/launch/test_torchrun.py",
        "tests/netslim/steps/launch/test_trainjob.py",
        "tests/netslim/storage/test_s3.py",
        "tests/netslim/storage/test_s3_errors.py",
        "tests/netslim/storage/test_s3_requests.py",
        "tests/netslim/tracking/",
    ),
    "compiles pipelines, or runs steps by KFP": (
        "tests/components/backend/",
        "tests/e2e/",
        "tests/pipelines/cli/",
        "tests/pipelines/cluster/test_backend_errors.py",
        "tests/pipelines/cluster/test_login.py",
        "tests/pipelines/cluster/test_platform.py",
        "tests/pipelines/cluster/test_submit.py",
        "tests/pipelines/cluster/test_wait.py",
        "tests/pipelines/compiler/",
        "tests/pipelines/slimming/",
        "tests/pipelines/sweeps/",
    ),
    "builds and installs packages": ("tests/test_packaging.py",),
}
"""The tests with the mark `slow`: the beginnings of their names, by the reason.

A single slow test in a fast file has the mark itself: `@pytest.mark.slow`.
"""


def pytest_configure() -> None:
    """Let each process of the tests end without a last search for garbage, which takes 2 seconds."""
    exit_quickly()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of SLOW, which `make test-quick` leaves out, and run the files with slow tests first.

    Each process of `make test` takes the next file when it has ended one. With the long files at the end, one
    process would wait for the other for minutes.
    """
    beginnings = tuple(name for names in SLOW.values() for name in names)
    for item in items:
        if item.nodeid.startswith(beginnings):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup() -> None:
    """PyTorch gives some warnings once per process. Each test gets them, not only the first that causes one.

    Tests that need no torch must not wait for its import, so it is only looked up here.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_warn_always(True)
