"""Checkpoint files: complete, checked, and used only for the training that wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from netslim.errors import StorageError
from netslim.storage import s3
from netslim.training.checkpoint import Checkpoints, weights_digest

IDENTITY = {"recipe": "a", "seed": "0"}
TENSORS = {"x": torch.arange(6.0).reshape(2, 3), "random": torch.arange(9, dtype=torch.uint8)}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    strided = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    path = Checkpoints(tmp_path, IDENTITY).save(12, TENSORS | {"w": strided}, {"history": [{"a": 0.1}]})
    found = Checkpoints(tmp_path, IDENTITY).latest()
    assert (found.address, found.step, found.metadata) == (path, 12, {"history": [{"a": 0.1}]})
    assert set(found.tensors) == {"x", "random", "w"}
    assert torch.equal(found.tensors["w"], strided)
    assert found.tensors["random"].dtype == torch.uint8


def test_a_missing_folder_has_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "missing", IDENTITY)
    assert checkpoints.latest() is None
    assert checkpoints.last is None


def test_the_newest_is_read_and_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    for step in (5, 40, 300, 2000):
        checkpoints.save(step, TENSORS, {})
    assert Checkpoints(tmp_path, IDENTITY).latest().step == 2000
    assert sorted(int(path.name[5:14]) for path in tmp_path.iterdir()) == [300, 2000]


def test_a_resumed_run_removes_the_checkpoint_that_it_read_when_two_are_newer(tmp_path):
    Checkpoints(tmp_path, IDENTITY).save(1, TENSORS, {})
    again = Checkpoints(tmp_path, IDENTITY)
    again.latest()
    again.save(2, TENSORS, {})
    again.save(3, TENSORS, {})
    assert sorted(int(path.name[5:14]) for path in tmp_path.iterdir()) == [2, 3]


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "garbage"])
def test_a_damaged_file_is_refused_and_the_one_before_is_read(tmp_path, damage, caplog):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, TENSORS, {"which": "old"})
    newest = Path(checkpoints.save(2, TENSORS, {"which": "new"}))
    content = bytearray(newest.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-1] ^= 1  # one bit of one weight
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(b"not a checkpoint at all")
    newest.write_bytes(content)
    again = Checkpoints(tmp_path, IDENTITY)
    assert again.latest().metadata == {"which": "old"}
    assert len(again.refused) == 1
    assert newest.name in again.refused[0]
    assert "checksum" in again.refused[0]
    assert "refused" in caplog.text


def test_a_flipped_bit_anywhere_is_detected(tmp_path):
    path = Path(Checkpoints(tmp_path, IDENTITY).save(1, {"x": torch.zeros(2)}, {}))
    content = path.read_bytes()
    for index in range(0, len(content), 7):
        path.write_bytes(content[:index] + bytes([content[index] ^ 16]) + content[index + 1 :])
        assert Checkpoints(tmp_path, IDENTITY).latest() is None


def test_a_checkpoint_of_another_training_is_refused_with_what_differs(tmp_path):
    Checkpoints(tmp_path, IDENTITY | {"seed": "1"}).save(900, TENSORS, {})
    Checkpoints(tmp_path, IDENTITY).save(3, TENSORS, {})
    again = Checkpoints(tmp_path, IDENTITY)
    assert again.latest().step == 3
    assert "another training: seed differ" in again.refused[0]


def test_a_file_of_another_format_is_refused(tmp_path):
    import hashlib

    draft = tmp_path / "draft"
    save_file(TENSORS, draft, metadata={"netslim": json.dumps({"format": "netslim-checkpoint/9"})})
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()[:16]
    draft.rename(tmp_path / f"step-000000001-{digest}.safetensors")
    again = Checkpoints(tmp_path, IDENTITY)
    assert again.latest() is None
    assert "netslim-checkpoint/9" in again.refused[0]


def test_other_files_in_the_folder_are_ignored(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "step-1.safetensors").write_text("not a checkpoint")
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    assert checkpoints.latest() is None
    assert checkpoints.refused == []
    for step in range(4):
        checkpoints.save(step, TENSORS, {})
    assert {"notes.txt", "step-1.safetensors"} < {path.name for path in tmp_path.iterdir()}


def test_any_safetensors_reader_opens_it(tmp_path):
    path = Checkpoints(tmp_path, IDENTITY).save(1, TENSORS, {})
    with safe_open(path, framework="np") as content:
        assert content.get_tensor("x").tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_the_digest_of_weights_depends_on_every_value_and_shape():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = weights_digest(model)
    assert before == weights_digest(model.to(memory_format=torch.channels_last))
    with torch.no_grad():
        model[1].running_mean[0] += 1e-7
    assert weights_digest(model) != before
    assert weights_digest(nn.Linear(2, 3)) != weights_digest(nn.Linear(3, 2))
    assert weights_digest(None) == ""


@pytest.fixture
def root(bucket):
    return f"s3://{bucket}/checkpoints"


def test_trainings_that_share_a_bucket_have_folders_of_their_own(root):
    other = IDENTITY | {"seed": "1"}
    for identity, which in ((IDENTITY, "this"), (other, "other")):
        checkpoints = Checkpoints(root, identity)
        for step in (1, 2, 3):
            checkpoints.save(step, TENSORS, {"which": which})
    found = Checkpoints(root + "/", IDENTITY).latest()
    assert (found.step, found.metadata) == (3, {"which": "this"})
    assert torch.equal(found.tensors["x"], TENSORS["x"])
    assert s3.is_s3(found.address)
    assert len(s3.names(root)) == 4, "two of each"
    assert Checkpoints(root, IDENTITY | {"recipe": "b"}).latest() is None


def test_trainings_that_share_a_local_folder_have_folders_of_their_own(tmp_path):
    other = IDENTITY | {"seed": "1"}
    for identity, which in ((IDENTITY, "this"), (other, "other")):
        checkpoints = Checkpoints(tmp_path, identity, shared=True)
        checkpoints.save(1, TENSORS, {"which": which})
        assert Path(checkpoints.root).parent == tmp_path
    found = Checkpoints(tmp_path, IDENTITY, shared=True).latest()
    assert found.metadata == {"which": "this"}
    assert not Checkpoints(tmp_path, IDENTITY | {"recipe": "b"}, shared=True).refused


@pytest.mark.parametrize("damage", ["truncate", "empty", "other content"])
def test_a_damaged_object_is_refused_and_the_one_before_is_read(root, damage):
    checkpoints = Checkpoints(root, IDENTITY)
    checkpoints.save(1, TENSORS, {"which": "old"})
    newest = checkpoints.save(2, TENSORS, {"which": "new"})
    content = s3.get_bytes(newest)
    s3.put_bytes(newest, {"truncate": content[:-9], "empty": b"", "other content": b"else" * 99}[damage])
    again = Checkpoints(root, IDENTITY)
    assert again.latest().metadata == {"which": "old"}
    assert newest in again.refused[0]
    assert "checksum" in again.refused[0]


def test_a_bucket_that_cannot_be_read_is_an_error(root):
    Checkpoints(root, IDENTITY).save(1, TENSORS, {})
    with pytest.raises(StorageError, match="no such bucket"):
        Checkpoints("s3://not-there/checkpoints", IDENTITY).latest()
