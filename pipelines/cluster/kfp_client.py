"""A connection to a KFP backend: safe retries, and one clear error for each refusal."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import kfp_server_api as kfp
import urllib3

from netslim.errors import ConfigError, PipelineError

__all__ = ["OLDEST", "KfpClient", "UnavailableError", "equals"]

OLDEST = (2, 17)  # older ones are not tested; before 2.14 a task with a display name cannot be found again
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the second and later tries
TIMEOUT = 30
T = TypeVar("T")


class UnavailableError(PipelineError):
    """The server did not answer, or has a problem that may pass: the request may be tried again."""


@dataclass(frozen=True, kw_only=True)
class KfpClient:
    """The address of KFP's API and the credentials for it.

    Args:
        host: the API's address, such as https://kubeflow.example/pipeline.
        namespace: the namespace of pipelines and runs; empty where KFP serves a single user.
        token: a bearer token.
        token_file: a file with the token instead, read for each request because such tokens are replaced.
        ca: file of the certificates to trust.
        pauses: seconds before the second and later tries of a request.

    Raises:
        ConfigError: the host is not an address, or both kinds of token are given.
    """

    host: str
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca: str = ""
    pauses: tuple[float, ...] = PAUSES

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/\s]+(/[^\s?#]*)?", self.host):
            remedy = "Write http:// or https://, the host, and the path before /apis if there is one"
            raise ConfigError("not an address", field="host", value=self.host, remedy=remedy)
        if self.token and self.token_file:
            raise ConfigError(
                "a token is given as well",
                field="token_file",
                value=self.token_file,
                remedy="Give one of them",
            )
        self._bearer()

    def client(self) -> kfp.ApiClient:
        """A client of kfp-server-api with this address and these credentials."""
        settings = kfp.Configuration(host=self.host.rstrip("/"))
        settings.retries = False  # `read` and `ensure` retry, and only what is safe to send again
        settings.ssl_ca_cert = self.ca or None
        if self._bearer():
            settings.api_key = {"authorization": self._bearer()}
            settings.api_key_prefix = {"authorization": "Bearer"}
            settings.refresh_api_key_hook = lambda own: own.api_key.update(authorization=self._bearer())
        return kfp.ApiClient(settings)

    def _bearer(self) -> str:
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise ConfigError(problem, field="token_file", value=self.token_file) from error

    def call(
        self, action: str, function: Callable[..., T], *args: Any, timeout: float = TIMEOUT, **kwargs: Any
    ) -> T:
        """Send one request.

        Args:
            action: for the message of a refusal, such as "start the run".
            function: a method of kfp-server-api; it gets the other arguments.
            timeout: seconds to wait for the answer.

        Raises:
            UnavailableError: the server may answer later.
            PipelineError: the server refuses.
        """
        with self._refusals(action):
            return function(*args, _request_timeout=timeout, **kwargs)

    def read(self, action: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Send one request that changes nothing. It is sent again while the server is unavailable.

        Raises:
            UnavailableError, PipelineError: as `call`, after the last try.
        """
        for pause in self.pauses:
            try:
                return self.call(action, function, *args, **kwargs)
            except UnavailableError:
                time.sleep(pause)
        return self.call(action, function, *args, **kwargs)

    def fetch(self, action: str, path: str, **query: str) -> str:
        """The body of the answer to a GET request that kfp-server-api has no method for. It is sent once.

        Raises:
            UnavailableError, PipelineError: as `call`.
        """
        answer: Any = self.call(
            action,
            self.client().call_api,
            path,
            "GET",
            query_params=list(query.items()),
            auth_settings=["Bearer"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        return str(answer.data.decode(errors="replace"))

    def ensure(self, find: Callable[[], T | None], make: Callable[[], T]) -> tuple[T, bool]:
        """Find an object by its name, or make it. Returns the object and whether it was made.

        After a failure the server may have made it all the same, so it is looked for before the next try.
        """
        for pause in (*self.pauses, None):
            existing = find()
            if existing is not None:
                return existing, False
            try:
                return make(), True
            except UnavailableError:
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError  # the last try returns or raises

    def check(self) -> str:
        """Check that the server is a KFP of a known version, and return the version.

        Raises:
            PipelineError: the server is not KFP, is too old, or refuses.
        """
        health = kfp.HealthzServiceApi(self.client()).healthz_service_get_healthz
        answer = self.read("ask the server for its version", health, _preload_content=False)
        try:
            health_data = json.loads(answer.data)
        except ValueError:
            remedy = "It may be a login page: give a token, or the address behind the gateway"
            raise PipelineError(
                "answers, but not as KFP does", field="host", value=self.host, remedy=remedy
            ) from None
        version = str(health_data.get("tag_name", "unknown"))
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
            remedy = f"Upgrade it to {OLDEST[0]}.{OLDEST[1]} or newer, or use another server"
            raise PipelineError(
                f"KFP {version} is too old for this pipeline", field="host", value=self.host, remedy=remedy
            )
        return version

    @contextmanager
    def _refusals(self, action: str) -> Iterator[None]:
        try:
            yield
        except kfp.ApiException as error:
            raise self._refusal(action, int(error.status), _message(error)) from error
        except urllib3.exceptions.SSLError as error:
            problem, remedy = f"its certificate is not trusted ({error})", "Give the issuer's file with --ca"
            raise PipelineError(problem, field="host", value=self.host, remedy=remedy) from error
        except urllib3.exceptions.HTTPError as error:
            problem = f"cannot be reached ({type(error).__name__})"
            remedy = "Check the address, and the port-forward if there is one"
            raise UnavailableError(problem, field="host", value=self.host, remedy=remedy) from error

    def _refusal(self, action: str, status: int, message: str) -> PipelineError:
        if status == 401:
            expired = "The token has expired or is not for this server"
            cause = expired if self._bearer() else "The server requires a token"
            remedy = f"{cause}: give a new one with --token-file, --token or KF_PIPELINES_TOKEN"
            return PipelineError(
                f"may not {action}: not logged in (401)", field="host", value=self.host, remedy=remedy
            )
        if status == 403:
            where = f"in namespace {self.namespace}" if self.namespace else "without --namespace"
            remedy = "Ask its owner for the role kubeflow-edit, or use a namespace of your own"
            return PipelineError(f"may not {action} {where} (403: {message})", remedy=remedy)
        if status == 404:
            remedy = "It does not exist, or the server is not KFP 2: the path before /apis belongs to --host"
            return PipelineError(
                f"cannot {action} (404: {message})", field="host", value=self.host, remedy=remedy
            )
        if status in (408, 409, 429) or status >= 500:
            remedy = "Try again; the log of the ml-pipeline pod has details"
            return UnavailableError(
                f"cannot {action} ({status}: {message})", field="host", value=self.host, remedy=remedy
            )
        old = "unknown field" in message
        remedy = (
            f"The server is older than {OLDEST[0]}.{OLDEST[1]}: upgrade it"
            if old
            else "See the response of the server above"
        )
        return PipelineError(
            f"cannot {action} ({status}: {message})", field="host", value=self.host, remedy=remedy
        )


def _message(error: kfp.ApiException) -> str:
    """The server's message in one line, at most 300 characters."""
    text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        text = json.loads(text).get("message", text)
    except (ValueError, AttributeError):
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:300] or str(error.reason)


def equals(name: str) -> str:
    """KFP's filter for objects with exactly this display name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})
