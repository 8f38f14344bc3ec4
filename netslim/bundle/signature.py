"""The signature of a bundle by a key, in the format of OpenSSF's model-signing.

Checksums show damage. A signature shows the origin to anybody who has the public key from a trusted source.
It can be checked without netslim:

    model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key KEY
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netslim.bundle.layout import KEY_SIGNATURE, MLFLOW_FILES, read_file
from netslim.errors import BundleError, ConfigError, NetslimError, first_line

__all__ = ["check_signature", "library", "signed_parts", "unusable_key"]


def check_signature(bundle: Path, key: Path) -> str:
    """Check model.sig against the public key in `key` (PEM); returns a short text for a good signature.

    Raises:
        BundleError: there is no signature, it was made with another key, or for other content.
        ConfigError: the key cannot be used.
        NetslimError: the extra `sign` is not installed.
    """
    checking = library("verifying").Config()
    try:
        checking.use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise unusable_key(key, error, "Give the public key of the person who signed the bundle") from error
    read_file(bundle, KEY_SIGNATURE)  # only to check that it is a regular file within the size limit
    checking.set_hashing_config(signed_parts(bundle))
    try:
        checking.verify(bundle, bundle / KEY_SIGNATURE)
    except Exception as error:  # the library documents no errors of its own for JSON that it cannot use
        problem = f"is not a signature of this bundle by this key ({first_line(error)})"
        raise BundleError(problem, field=KEY_SIGNATURE) from error
    return f"by the owner of {key.name}"


def signed_parts(bundle: Path, *others: str) -> Any:
    """The hashing configuration of a signature: all files of the bundle, without MLflow's and `others`."""
    ignored = [bundle / name for name in (KEY_SIGNATURE, *others, *sorted(MLFLOW_FILES))]
    return library("hashing").Config().set_ignored_paths(paths=ignored)


def library(module: str) -> Any:
    """`hashing`, `signing` or `verifying` of the package model_signing.

    Raises:
        NetslimError: the extra `sign` is not installed.
    """
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise NetslimError(
            f"needs {error.name}", field="signature", remedy="pip install 'netslim[sign]'"
        ) from error
    return {"hashing": hashing, "signing": signing, "verifying": verifying}[module]


def unusable_key(key: Path, error: Exception, remedy: str) -> ConfigError:
    """The error to raise for a key file that caused `error`."""
    return ConfigError(f"cannot be used ({first_line(error)})", field="key", value=str(key), remedy=remedy)
