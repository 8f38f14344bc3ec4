"""Sign a bundle with a private key. Only a bundle that `verify` accepts is signed."""

from __future__ import annotations

import os
from pathlib import Path

from netslim.bundle.layout import KEY_SIGNATURE
from netslim.bundle.signature import library, signed_parts, unusable_key
from netslim.bundle.verify import require_good, verify
from netslim.storage.atomic import atomic_file

__all__ = ["PASSWORD", "sign"]

PASSWORD = "NETSLIM_KEY_PASSWORD"
"""The environment variable with the password of the private key."""


def sign(bundle: Path, key: Path) -> Path:
    """Sign the bundle with the private key in `key` (PEM, an elliptic curve); returns the path of model.sig.

    Raises:
        BundleError: `verify` does not accept the bundle.
        ConfigError: the key cannot be used.
        NetslimError: the extra `sign` is not installed.
    """
    signing = library("signing").Config()
    require_good(verify(bundle), bundle)
    password = os.environ.get(PASSWORD)
    try:
        # The parameter is annotated as str, but is passed on to a function that takes bytes.
        signing.use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)
    except (OSError, ValueError, TypeError) as error:
        raise unusable_key(
            key, error, f"Give a private key, and its password in {PASSWORD} if it has one"
        ) from error
    with atomic_file(bundle / KEY_SIGNATURE) as draft:
        # The draft is in the bundle's folder, but must not be signed itself.
        signing.set_hashing_config(signed_parts(bundle, draft.name)).sign(bundle, draft)
    return bundle / KEY_SIGNATURE
