"""A connection to a KFP backend that retries what may be retried, and says in one sentence what is wrong."""

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

OLDEST = (2, 17)  # nothing older has been tried; before 2.14 a task with a display name cannot be found again
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the second and later tries
TIMEOUT = 30
T = TypeVar("T")


class UnavailableError(PipelineError):
    """The server did not answer, or answered that it cannot now: worth another try."""


@dataclass(frozen=True, kw_only=True)
class KfpClient:
    """Where the API of KFP is, and who asks.

    Args:
        host: the API's address, such as https://kubeflow.example/pipeline.
        namespace: whose pipelines and runs; empty where KFP serves a single user.
        token: a bearer token; or `token_file`, read anew for each request because tokens in files rotate.
        ca: file of the certificates to trust.

    Raises:
        ConfigError: the host is no address, or both kinds of token are given.
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
            raise ConfigError("a token is given as well", field="token_file", value=self.token_file)
        self._bearer()

    def client(self) -> kfp.ApiClient:
        settings = kfp.Configuration(host=self.host.rstrip("/"))
        settings.retries = False  # retried here, where it is known what is safe to send again
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

    def call(self, what: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """One request. `what` is what is being done, as the message of a refusal will say it.

        Raises:
            UnavailableError: the server may answer later.
            PipelineError: it refuses.
        """
        with self._refusals(what):
            return function(*args, _request_timeout=TIMEOUT, **kwargs)

    def read(self, what: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """One request that changes nothing, and so may be sent again while the server is unavailable."""
        for pause in self.pauses:
            try:
                return self.call(what, function, *args, **kwargs)
            except UnavailableError:
                time.sleep(pause)
        return self.call(what, function, *args, **kwargs)

    def ensure(self, find: Callable[[], T | None], make: Callable[[], T]) -> tuple[T, bool]:
        """Find something by its name, or make it; and whether it was made.

        After a failure nobody knows whether the server made it: so it is looked for before it is made again.
        """
        for pause in (*self.pauses, None):
            found = find()
            if found is not None:
                return found, False
            try:
                return make(), True
            except UnavailableError:
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError  # the last try returns or raises

    def check(self) -> str:
        """Find out that this is a KFP which is new enough, and return its version.

        Raises:
            PipelineError: it is something else, too old, or refuses.
        """
        health = kfp.HealthzServiceApi(self.client()).healthz_service_get_healthz
        answer = self.read("ask the server for its version", health, _preload_content=False)
        try:
            told = json.loads(answer.data)
        except ValueError:
            remedy = "A page to log in, perhaps: give a token, or the address behind the gateway"
            raise PipelineError(
                "answers, but not as KFP does", field="host", value=self.host, remedy=remedy
            ) from None
        version = str(told.get("tag_name", "unknown"))
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
            remedy = f"Upgrade it to {OLDEST[0]}.{OLDEST[1]}, or ask for the address of one that is"
            raise PipelineError(
                f"KFP {version} is too old for this pipeline", field="host", value=self.host, remedy=remedy
            )
        return version

    @contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        try:
            yield
        except kfp.ApiException as error:
            raise self._refusal(what, int(error.status), _told(error)) from error
        except urllib3.exceptions.SSLError as error:
            problem, remedy = f"its certificate is not trusted ({error})", "Give the issuer's file with --ca"
            raise PipelineError(problem, field="host", value=self.host, remedy=remedy) from error
        except urllib3.exceptions.HTTPError as error:
            problem = f"cannot be reached ({type(error).__name__})"
            remedy = "Check the address, and the port-forward if there is one"
            raise UnavailableError(problem, field="host", value=self.host, remedy=remedy) from error

    def _refusal(self, what: str, status: int, told: str) -> PipelineError:
        if status == 401:
            had = "The token has expired or is not for this server" if self._bearer() else "It wants a token"
            remedy = f"{had}: give a new one with --token-file, --token or KF_PIPELINES_TOKEN"
            return PipelineError(
                f"may not {what}: not logged in (401)", field="host", value=self.host, remedy=remedy
            )
        if status == 403:
            where = f"in namespace {self.namespace}" if self.namespace else "without --namespace"
            remedy = "Ask its owner for the role kubeflow-edit, or name a namespace of your own"
            return PipelineError(f"may not {what} {where} (403: {told})", remedy=remedy)
        if status == 404:
            remedy = "It is not there, or this is no KFP 2: the path before /apis belongs to --host"
            return PipelineError(f"cannot {what} (404: {told})", field="host", value=self.host, remedy=remedy)
        if status in (408, 409, 429) or status >= 500:
            remedy = "Try again; the log of the ml-pipeline pod says more"
            return UnavailableError(
                f"cannot {what} ({status}: {told})", field="host", value=self.host, remedy=remedy
            )
        old = "unknown field" in told
        remedy = (
            f"The server is older than {OLDEST[0]}.{OLDEST[1]}: upgrade it"
            if old
            else "That is its last word"
        )
        return PipelineError(
            f"cannot {what} ({status}: {told})", field="host", value=self.host, remedy=remedy
        )


def _told(error: kfp.ApiException) -> str:
    """The server's own words, in one line."""
    text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        text = json.loads(text).get("message", text)
    except (ValueError, AttributeError):
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:300] or str(error.reason)


def equals(name: str) -> str:
    """KFP's filter for things with exactly this display name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})
