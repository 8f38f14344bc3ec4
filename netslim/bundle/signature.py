"""Who made a bundle: a signature over all of it by a key, in the format of OpenSSF's model-signing.

Checksums show damage; a signature shows origin, to whoever got the public key some other way. It can be
checked without netslim: `model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key KEY`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from netslim.bundle.layout import FOREIGN, SIGNED, read_small
from netslim.errors import BundleError, ConfigError, NetslimError

__all__ = ["PASSWORD", "check_signature", "sign"]

PASSWORD = "NETSLIM_KEY_PASSWORD"
"""The environment variable with the password of a private key that has one."""


def sign(bundle: Path, key: Path) -> Path:
    """Sign the bundle with the private key in `key` (PEM, an elliptic curve); returns the signature's file.

    Raises:
        BundleError: the bundle is not good; only what `verify` accepts is signed.
        ConfigError: the key cannot be used.
        NetslimError: the extra `sign` is not installed.
    """
    from netslim.bundle.verify import require_good, verify
    from netslim.storage.atomic import atomic_file

    signing = _library("signing").Config()
    require_good(verify(bundle), bundle)
    password = os.environ.get(PASSWORD)
    try:
        # It says that it takes a text, and hands it to what takes bytes.
        signing.use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(
            key, error, f"Give a private key, and its password in {PASSWORD} if it has one"
        ) from error
    with atomic_file(bundle / SIGNED) as draft:
        # The draft lies beside the bundle's files and is no part of it.
        signing.set_hashing_config(_parts(bundle, draft.name)).sign(bundle, draft)
    return bundle / SIGNED


def check_signature(bundle: Path, key: Path) -> str:
    """What a good signature by the owner of `key` (PEM, public) covers, in a few words.

    Raises:
        BundleError: there is no signature, it is somebody else's, or of other content.
        ConfigError: the key cannot be used.
        NetslimError: the extra `sign` is not installed.
    """
    checking = _library("verifying").Config()
    try:
        checking.use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(key, error, "Give the public key of who signed the bundle") from error
    read_small(bundle, SIGNED)  # a plain file, and not too large to be parsed
    checking.set_hashing_config(_parts(bundle))
    try:
        checking.verify(bundle, bundle / SIGNED)
    except Exception as error:  # the library parses foreign JSON, and names no errors of its own
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BundleError(f"is not a signature of this bundle by this key ({told})", field=SIGNED) from error
    return f"by the owner of {key.name}"


def _parts(bundle: Path, *others: str) -> Any:
    """What is signed: all of a bundle's files, and none that MLflow lays beside them."""
    apart = [bundle / name for name in (SIGNED, *others, *sorted(FOREIGN))]
    return _library("hashing").Config().set_ignored_paths(paths=apart)


def _library(module: str) -> Any:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise NetslimError(
            f"needs {error.name}", field="signature", remedy="pip install 'netslim[sign]'"
        ) from error
    return {"hashing": hashing, "signing": signing, "verifying": verifying}[module]


def _unusable(key: Path, error: Exception, remedy: str) -> ConfigError:
    told = str(error).strip().splitlines()
    problem = f"cannot be used ({told[0] if told else type(error).__name__})"
    return ConfigError(problem, field="key", value=str(key), remedy=remedy)
