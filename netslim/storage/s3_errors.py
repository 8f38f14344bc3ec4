"""Every failure of boto3 as one StorageError: a plain sentence with the address and the setting to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from netslim.errors import StorageError

__all__ = ["ATTEMPTS", "s3_errors"]

ATTEMPTS = 6  # how often boto3 sends a request at most

_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role that boto3 finds"
_PERMISSIONS = "The credentials need s3:GetObject, s3:PutObject and s3:ListBucket on it"
_ENDPOINT = "Check AWS_ENDPOINT_URL and the network"
_BY_CODE = {
    "NoSuchBucket": ("there is no such bucket", "Check its name and AWS_ENDPOINT_URL"),
    "NoSuchKey": ("there is no such object", "Check its name"),
    "404": ("there is no such object or bucket", "Check its name and AWS_ENDPOINT_URL"),
    "AccessDenied": ("no permission", _PERMISSIONS),
    "403": ("no permission", _PERMISSIONS),
    "InvalidAccessKeyId": ("the object store has no such access key", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key is wrong", _CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", "Renew them"),
}
"""Problem and remedy by the error code in the object store's answer."""

_BY_TYPE = {
    "EndpointConnectionError": ("the object store cannot be reached", _ENDPOINT),
    "ConnectTimeoutError": ("the object store cannot be reached (timed out)", _ENDPOINT),
    "ReadTimeoutError": ("the object store does not answer", _ENDPOINT),
    "ConnectionClosedError": ("the object store closed the connection", _ENDPOINT),
    "ProxyConnectionError": ("the proxy refused", "Add the endpoint's host to NO_PROXY"),
    "SSLError": (
        "no trusted TLS connection to the object store",
        "Set AWS_CA_BUNDLE to the certificate of its authority",
    ),
}
"""Problem and remedy by the name of botocore's exception, where no answer came."""


@contextmanager
def s3_errors(url: str) -> Iterator[None]:
    """Turn the exceptions of boto3 in a `with` block into a StorageError about `url`."""
    try:
        from boto3.exceptions import Boto3Error
        from botocore import exceptions
    except ImportError:  # making the client raises the error that names the extra to install
        yield
        return
    try:
        yield
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        retried = f"It was tried {ATTEMPTS} times; try again later"
        problem, remedy = _BY_CODE.get(code, (f"the object store refused ({error})", retried))
        raise StorageError(problem, field=url, remedy=remedy) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StorageError("no credentials for S3", field=url, remedy=_CREDENTIALS) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        names = (each.__name__ for each in type(error).__mro__)
        known = next((_BY_TYPE[name] for name in names if name in _BY_TYPE), None)
        problem, remedy = known or (f"the object store cannot be used ({error})", _ENDPOINT)
        raise StorageError(problem, field=url, remedy=remedy) from error
