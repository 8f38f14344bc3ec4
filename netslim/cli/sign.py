"""`netslim sign`: sign a bundle with a private key."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["sign"]


@click.command(short_help="Sign a bundle with your private key.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Your private key, a PEM file.")
def sign(bundle: Path, key: Path) -> None:
    """Verify BUNDLE and write its signature to model.sig, in the format of OpenSSF's model-signing.

    Sign before you publish. Everybody who has your public key can then run `netslim verify BUNDLE --key`.
    `openssl ecparam -genkey -name prime256v1 -noout -out private.pem` makes a private key,
    `openssl ec -in private.pem -pubout -out public.pem` its public key. The password of a private key is read
    from the environment variable NETSLIM_KEY_PASSWORD.
    """
    from netslim.bundle.sign import sign as sign_bundle

    click.echo(f"{sign_bundle(bundle, key)}: signed")
