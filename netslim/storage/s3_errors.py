"""Every failure of boto3 as one StorageError: a plain sentence with the address and the setting to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from netslim.errors import StorageError, first_line
from netslim.storage import s3_requests

__all__ = ["s3_errors"]

_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role that boto3 finds"
_PERMISSIONS = "The credentials need s3:GetObject, s3:PutObject and s3:ListBucket on it"
_ENDPOINT = "Check AWS_ENDPOINT_URL and the network"
_PROFILE = "Check AWS_PROFILE and the file ~/.aws/config"
_SPACE = "Remove what is not needed from the object store, or make it larger"
_BY_CODE = {
    "NoSuchBucket": ("there is no such bucket", "Check its name and AWS_ENDPOINT_URL"),
    "NoSuchKey": ("there is no such object", "Check its name"),
    "404": ("there is no such object or bucket", "Check its name and AWS_ENDPOINT_URL"),
    "AccessDenied": ("no permission", _PERMISSIONS),
    "403": ("no permission", _PERMISSIONS),
    "InvalidAccessKeyId": ("the object store has no such access key", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key is wrong", _CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", "Renew them"),
    "InvalidBucketName": ("not a valid name of a bucket", "Check its name"),
    "XMinioStorageFull": ("the object store is full", _SPACE),
    "507": ("the object store is full", _SPACE),
}
"""Problem and remedy by the error code in the object store's answer."""

_BY_TYPE = {
    "EndpointConnectionError": ("the object store cannot be reached", _ENDPOINT),
    "ConnectTimeoutError": ("the object store cannot be reached (timed out)", _ENDPOINT),
    "ReadTimeoutError": ("the object store does not answer", _ENDPOINT),
    "ProfileNotFound": ("there is no such profile of AWS", _PROFILE),
    "ConfigParseError": ("the configuration of AWS cannot be read", _PROFILE),
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
    except s3_requests.NotAnObjectStoreError as error:
        raise _not_an_object_store(url, str(error)) from error
    except exceptions.ClientError as error:
        raise _refused(url, error.response) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StorageError("no credentials for S3", field=url, remedy=_CREDENTIALS) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        if isinstance(error.__context__, exceptions.ClientError):  # upload_file puts its text into another
            raise _refused(url, error.__context__.response) from error
        names = (each.__name__ for each in type(error).__mro__)
        known = next((_BY_TYPE[name] for name in names if name in _BY_TYPE), None)
        problem, remedy = known or (f"the object store cannot be used ({first_line(error)})", _ENDPOINT)
        raise StorageError(problem, field=url, remedy=remedy) from error


def _refused(url: str, response: Any) -> StorageError:
    """The error for an answer that is one of S3's errors."""
    code = str(response.get("Error", {}).get("Code", ""))
    message = first_line(str(response.get("Error", {}).get("Message", "")) or "no message")
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _BY_CODE:
        problem, remedy = _BY_CODE[code]
    elif not code:
        return _not_an_object_store(url, f"status {status}")
    elif status >= 500:
        problem = f"the object store has failed (status {status}, {message})"
        remedy = f"It was tried {s3_requests.ATTEMPTS} times: read its log, or try again later"
    else:
        problem, remedy = f"the object store refused ({code}: {message})", "Check the address and its log"
    return StorageError(problem, field=url, remedy=remedy)


def _not_an_object_store(url: str, answer: str) -> StorageError:
    problem = f"the endpoint does not answer as an object store does ({answer})"
    remedy = "Check scheme, host and port in AWS_ENDPOINT_URL: it may be that of a web page"
    return StorageError(problem, field=url, remedy=remedy)
