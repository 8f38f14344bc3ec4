"""The signature of a bundle by a key, in the format of OpenSSF's model-signing.

Checksums show damage. A signature shows the origin to anybody who got the public key in another way. It can
be checked without netslim: `model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key KEY`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netslim.bundle.layout import FOREIGN, SIGNED, read_small
from netslim.errors import BundleError, ConfigError, NetslimError

__all__ = ["check_signature", "library", "signed_parts", "unusable_key"]


def check_signature(bundle: Path, key: Path) -> str:
    """What a good signature by the owner of `key` (PEM, public) covers, in a few words.

    Raises:
        BundleError: there is no signature, it is somebody else's, or of other content.
        ConfigError: the key cannot be used.
        NetslimError: the extra `sign` is not installed.
    """
    checking = library("verifying").Config()
    try:
        checking.use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise unusable_key(key, error, "Give the public key of who signed the bundle") from error
    read_small(bundle, SIGNED)  # a plain file, and not too large to be parsed
    checking.set_hashing_config(signed_parts(bundle))
    try:
        checking.verify(bundle, bundle / SIGNED)
    except Exception as error:  # the library parses foreign JSON, and names no errors of its own
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BundleError(f"is not a signature of this bundle by this key ({told})", field=SIGNED) from error
    return f"by the owner of {key.name}"


def signed_parts(bundle: Path, *others: str) -> Any:
    """What is signed: all of a bundle's files, and none that MLflow lays beside them."""
    apart = [bundle / name for name in (SIGNED, *others, *sorted(FOREIGN))]
    return library("hashing").Config().set_ignored_paths(paths=apart)


def library(module: str) -> Any:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise NetslimError(
            f"needs {error.name}", field="signature", remedy="pip install 'netslim[sign]'"
        ) from error
    return {"hashing": hashing, "signing": signing, "verifying": verifying}[module]


def unusable_key(key: Path, error: Exception, remedy: str) -> ConfigError:
    told = str(error).strip().splitlines()
    problem = f"cannot be used ({told[0] if told else type(error).__name__})"
    return ConfigError(problem, field="key", value=str(key), remedy=remedy)
