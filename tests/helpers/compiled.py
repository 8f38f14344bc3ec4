"""Compile equal pipelines once in a session of tests: compiling takes a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from netslim_kfp.pipelines.cli.submission import Plan

FILES: dict[str, bytes] = {}


def remember_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `Plan.compile` write what an earlier call with the same content has written."""
    original = Plan.compile

    def compile_once(plan: Plan, file: Path, *, run_key: str = "") -> None:
        config = plan.config
        key = repr((plan.name, config.passes, config.baseline, config.cache, sorted(plan.profiles.items())))
        key += "<key>" if run_key else ""
        if key not in FILES:
            original(plan, file, run_key="<key>" if run_key else "")
            FILES[key] = file.read_bytes()
        file.write_bytes(FILES[key].replace(b"<key>", run_key.encode()))

    monkeypatch.setattr(Plan, "compile", compile_once)
