"""A signature shows who signed a bundle, and that no file was changed afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from netslim.bundle.layout import CHECKSUMS, KEY_SIGNATURE, write_checksums
from netslim.bundle.publish import publish
from netslim.bundle.sign import PASSWORD, sign
from netslim.bundle.verify import verify
from netslim.cli.sign import sign as sign_command
from netslim.cli.verify import verify as verify_command
from netslim.errors import BundleError, ConfigError


def key(folder: Path, name: str, lock: KeySerializationEncryption | None = None) -> tuple[Path, Path]:
    """The files of a new private key and of its public key."""
    made = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()))
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def verdict(bundle: Path, public: Path) -> str:
    """The detail of a failed check of the signature; empty when it passed."""
    (result,) = (result for result in verify(bundle, key=public) if result.name == "signature")
    return "" if result.passed else result.detail


def test_only_the_public_key_of_the_signer_verifies_a_bundle(bundle: Path, tmp_path: Path) -> None:
    private, public = key(tmp_path, "mine")
    _, other = key(tmp_path, "other")
    assert "model.sig is missing" in verdict(bundle, public).replace(": ", " ")
    result = CliRunner().invoke(sign_command, [str(bundle), "--key", str(private)])
    assert result.exit_code == 0, result.output
    assert verdict(bundle, public) == ""
    assert "not a signature of this bundle by this key" in verdict(bundle, other)
    result = CliRunner().invoke(verify_command, [str(bundle), "--key", str(public)])
    assert result.exit_code == 0, result.output
    assert "by the owner of mine.pub" in result.output
    assert all(check.passed for check in verify(bundle)), "without a key a signature changes nothing"
    (bundle / "MLmodel").write_text("a file that MLflow adds")
    assert verdict(bundle, public) == ""


def test_a_changed_bundle_with_new_checksums_fails(bundle: Path, tmp_path: Path) -> None:
    private, public = key(tmp_path, "mine")
    sign(bundle, private)
    (bundle / "README.md").write_text("Safe for every use.")
    write_checksums(bundle)
    assert KEY_SIGNATURE not in (bundle / CHECKSUMS).read_text()
    assert "not a signature of this bundle" in verdict(bundle, public)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2", b"\xff" * 100, b'{"dsseEnvelope": {}}'])
def test_a_file_that_is_not_a_signature_fails(bundle: Path, content: bytes, tmp_path: Path) -> None:
    (bundle / KEY_SIGNATURE).write_bytes(content)
    assert "not a signature of this bundle by this key" in verdict(bundle, key(tmp_path, "mine")[1])


def test_a_signature_that_is_a_link_or_huge_is_not_read(bundle: Path, tmp_path: Path) -> None:
    (bundle / KEY_SIGNATURE).symlink_to("/etc/passwd")
    assert "not a regular file" in next(check.detail for check in verify(bundle) if not check.passed)
    (bundle / KEY_SIGNATURE).unlink()
    with (bundle / KEY_SIGNATURE).open("wb") as stream:
        stream.truncate(2 << 20)
    assert "more than 1,048,576" in next(check.detail for check in verify(bundle) if not check.passed)


def test_a_damaged_bundle_is_not_signed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "labels.txt").write_text("other")
    with pytest.raises(BundleError, match=r"checksums: labels\.txt"):
        sign(bundle, key(tmp_path, "mine")[0])
    assert not (bundle / KEY_SIGNATURE).exists()


def test_keys_with_and_without_passwords(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key(tmp_path, "locked", BestAvailableEncryption(b"open sesame"))
    with pytest.raises(ConfigError, match=PASSWORD):
        sign(bundle, private)
    monkeypatch.setenv(PASSWORD, "open sesame")
    sign(bundle, private)
    assert verdict(bundle, public) == ""
    with pytest.raises(ConfigError, match=r"key = .*absent"):
        verify(bundle, key=tmp_path / "absent")


def test_a_signature_is_published_with_its_bundle_or_after_it(bundle: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    private, public = key(tmp_path, "mine")
    assert publish(bundle, str(there))
    sign(bundle, private)
    assert publish(bundle, str(there))
    assert verdict(there, public) == ""
    assert not publish(bundle, str(there))


def test_the_command_of_model_signing_accepts_the_signature(bundle: Path, tmp_path: Path) -> None:
    """Other tools can check the file, not only netslim."""
    private, public = key(tmp_path, "mine")
    sign(bundle, private)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle)]
    command += ["--signature", str(bundle / KEY_SIGNATURE), "--public_key", str(public)]
    for good in (True, False):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
        assert (done.returncode == 0) == good, done.stderr
        shutil.copyfile(bundle / "labels.txt", bundle / "README.md")
