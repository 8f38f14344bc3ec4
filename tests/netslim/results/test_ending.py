"""The ending of a run as a sentence and as JSON."""

from __future__ import annotations

import pytest

from netslim.results.ending import FINISHED, Ending


@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        (FINISHED, ""),
        (Ending(status="KILLED"), "The run was stopped."),
        (
            Ending(status="FAILED", step="pass 1: fine-tune", cause="out of memory", message="OOMKilled"),
            "The run failed in `pass 1: fine-tune` (out of memory). OOMKilled",
        ),
    ],
)
def test_what_is_known_is_in_the_sentence(ending: Ending, sentence: str) -> None:
    assert ending.sentence == sentence
    assert Ending.from_json(ending.to_json()) == ending
