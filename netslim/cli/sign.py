"""`netslim sign`: put one's name to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["sign"]


@click.command(short_help="Sign a bundle with your key.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Your private key, a PEM file.")
def sign(bundle: Path, key: Path) -> None:
    """Verify BUNDLE and sign it, as OpenSSF's model-signing does, into its model.sig.

    Sign before you publish. Whoever has your public key then checks with `netslim verify BUNDLE --key`. A key
    is made by `openssl ecparam -genkey -name prime256v1 -noout -out private.pem`, its public half by
    `openssl ec -in private.pem -pubout -out public.pem`. A password is read from NETSLIM_KEY_PASSWORD.
    """
    from netslim.bundle.sign import sign as put

    click.echo(f"{put(bundle, key)}: signed")
