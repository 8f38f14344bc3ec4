"""Each request to an object store: how long it is repeated, its line in the log, which answers are refused.

boto3 takes the answer of any web server for that of an object store: a page of HTML is an empty listing, and
an upload to it has succeeded. It also repeats a request that is not answered, without a message.
"""

from __future__ import annotations

import logging
import time
from typing import Any

__all__ = ["ATTEMPTS", "CONNECT_TIMEOUT", "READ_TIMEOUT", "NotAnObjectStoreError", "watch"]

_log = logging.getLogger(__name__)

ATTEMPTS = 6  # how often a request is sent at most
REPEAT_FOR = 60  # seconds after which a request is not sent again
READ_TIMEOUT = 20  # seconds without a byte after which an attempt has failed
CONNECT_TIMEOUT = 10

START = "netslim_start"  # in the request's context: when it was sent first

# What the answer to an operation always has one of; parsed by botocore.
EVIDENCE = {
    "ListObjectsV2": ("Name", "IsTruncated", "KeyCount"),
    "HeadObject": ("ETag", "LastModified"),
    "GetObject": ("ETag", "LastModified"),
    "PutObject": ("ETag",),
    "UploadPart": ("ETag",),
    "CreateMultipartUpload": ("UploadId",),
}
PAGES = ("text/html", "application/json")  # an object store answers in XML
GATEWAYS = (502, 503, 504)  # a server in front of the object store answers for it, with a page of its own
REDIRECTS = (301, 302, 303, 307, 308)


class NotAnObjectStoreError(Exception):
    """The answer of a web server that is not an object store; the text says which."""


def watch(client: Any) -> None:
    """Let botocore call the functions below for each request of `client`."""
    client.meta.events.register_first("before-call.s3", _started)
    client.meta.events.register_first("needs-retry.s3", _failed)
    client.meta.events.register("after-call.s3", _answered)


def _started(context: dict[str, Any], **_: Any) -> None:
    context[START] = time.monotonic()


def _failed(
    response: Any, caught_exception: Exception | None, attempts: int, request_dict: dict[str, Any], **_: Any
) -> None:
    """Called after each attempt, before botocore decides on another one."""
    status = response[0].status_code if response is not None else 0
    if status in REDIRECTS and "x-amz-bucket-region" not in response[0].headers:
        # botocore would look for another region without end.
        raise NotAnObjectStoreError(f"status {status}, to {response[0].headers.get('location', 'nowhere')}")
    if caught_exception is None and status < 500:
        return
    seconds = time.monotonic() - request_dict["context"].get(START, time.monotonic())
    if caught_exception is not None and seconds >= REPEAT_FOR:
        raise caught_exception
    if attempts < ATTEMPTS:
        problem = type(caught_exception).__name__ if caught_exception else f"status {status}"
        _log.warning(
            "The object store failed (%s) after %.0f s: attempt %d of %d follows",
            *(problem, seconds, attempts + 1, ATTEMPTS),
        )


def _answered(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Called with the last answer."""
    status = http_response.status_code
    kind = str(http_response.headers.get("content-type", "")).partition(";")[0].strip().lower()
    if expected := EVIDENCE.get(model.name, ()) if status < 300 else ():
        other_server = not parsed.keys() & set(expected)
    else:  # HEAD has no content, and a stream is not read here
        content = b"" if model.has_streaming_output else http_response.content
        other_server = bool(content) and kind in PAGES and status not in GATEWAYS
    if other_server:
        raise NotAnObjectStoreError(f"status {status}, {kind or 'no content type'}")
