"""What EventBridge does for an API destination and the local cloud does not: retries and the dead-letter queue.

The local cloud posts each event once, with the connection's key, and forgets it. So it posts to a relay on this
machine, which posts it on until the program answers. The limits are those of the rule's target.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx
from botocore.exceptions import ClientError

from giftcards_local import STACK_NAME

KEY_HEADER = "X-Giftcards-Key"
TIMEOUT_SECONDS = 5
"""Of one attempt, on AWS too."""
RETRIED = {401, 407, 409, 429}
"""Statuses that EventBridge retries, in addition to 5xx and calls without an answer. Others go to the queue at once."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Target:
    """How long the rule's target is retried, and where an event goes then.

    Attributes
    ----------
    max_age_seconds
        From the first attempt to the last.
    """

    max_age_seconds: float
    max_retries: int
    queue_url: str


class WebhookCloud:
    """The webhook's resources on the local cloud. CloudFormation does not know two of their types there."""

    def __init__(self, client: Callable[[str], Any], outputs: Mapping[str, str]) -> None:
        self._client = client
        self._outputs = outputs

    def key(self) -> str:
        """Return the key that the connection sends."""
        secret_arn = self._outputs["WebhookKeySecretArn"]
        return str(self._client("secretsmanager").get_secret_value(SecretId=secret_arn)["SecretString"])

    def connect(self, relay_url: str) -> None:
        """Create what AWS creates from the template, or bring it up to date: the connection and the API destination."""
        events, name = self._client("events"), f"{STACK_NAME}-webhook"
        parameters = {"ApiKeyAuthParameters": {"ApiKeyName": KEY_HEADER, "ApiKeyValue": self.key()}}
        connection = {"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": parameters}
        arn = _put(events.create_connection, events.update_connection, connection)["ConnectionArn"]
        destination = {
            "Name": name,
            "ConnectionArn": arn,
            "InvocationEndpoint": relay_url,
            "HttpMethod": "POST",
        }
        _put(events.create_api_destination, events.update_api_destination, destination)

    def target(self) -> Target:
        """Return what the rule says now."""
        cloudformation, sqs = self._client("cloudformation"), self._client("sqs")
        found = cloudformation.describe_stack_resource(StackName=STACK_NAME, LogicalResourceId="WebhookRule")
        rule = found["StackResourceDetail"]["PhysicalResourceId"].rpartition("|")[2].rpartition("/")[2]
        bus = self._outputs["OrderBusName"]
        (target,) = self._client("events").list_targets_by_rule(Rule=rule, EventBusName=bus)["Targets"]
        queue_name = target["DeadLetterConfig"]["Arn"].rpartition(":")[2]
        return Target(
            max_age_seconds=target["RetryPolicy"]["MaximumEventAgeInSeconds"],
            max_retries=target["RetryPolicy"]["MaximumRetryAttempts"],
            queue_url=sqs.get_queue_url(QueueName=queue_name)["QueueUrl"],
        )

    def keep(self, event: str, target: Target, error: str) -> None:
        """Put an event into the dead-letter queue, as EventBridge does."""
        attributes = {"ERROR_CODE": {"DataType": "String", "StringValue": error}}
        self._client("sqs").send_message(QueueUrl=target.queue_url, MessageBody=event, MessageAttributes=attributes)


def _put(create: Callable[..., Any], update: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    try:
        return create(**parameters)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
            raise
        return update(**parameters)


class Relay:
    """Posts events on. Use it as a context manager: what still waits at its end goes to the dead-letter queue.

    Parameters
    ----------
    to
        The program's URL.
    """

    def __init__(self, to: str, cloud: WebhookCloud, *, port: int = 0) -> None:
        self._to = to
        self._cloud = cloud
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._server = Listener(port, self._take)
        self.url = self._server.url

    def __enter__(self) -> Self:
        """Start to listen."""
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and keep what was not delivered."""
        self._server.stop()
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _take(self, headers: Mapping[str, str], event: str) -> int:
        kept = {name: headers[name] for name in ("Content-Type", "User-Agent", KEY_HEADER) if name in headers}
        thread = threading.Thread(target=self._deliver, args=(kept, event))
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()
        return 202

    def _deliver(self, headers: Mapping[str, str], event: str) -> None:
        started, attempts = time.monotonic(), 0
        while True:
            attempts += 1
            error, is_final = self._post(headers, event)
            if not error:
                return
            target = self._cloud.target()
            jitter = random.uniform(0.5, 1)  # noqa: S311
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (attempts - 1), MAX_PAUSE_SECONDS) * jitter
            is_over = time.monotonic() - started + pause > target.max_age_seconds or attempts > target.max_retries
            if is_final or is_over or self._stopped.wait(pause):
                self._cloud.keep(event, target, error)
                return

    def _post(self, headers: Mapping[str, str], event: str) -> tuple[str, bool]:
        """Return what was wrong with an attempt, empty if nothing, and whether a retry is pointless."""
        try:
            answer = httpx.post(self._to, content=event, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            return type(error).__name__, False
        status = answer.status_code
        return ("", False) if answer.is_success else (f"HTTP {status}", status not in RETRIED and status < 500)


class Listener:
    """An HTTP server on this machine that hands every POST to a function.

    Parameters
    ----------
    take
        Called with the headers and the body; returns the status of the answer.
    """

    def __init__(self, port: int, take: Callable[[Mapping[str, str], str], int]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                status = take(dict(self.headers), body)
                with suppress(OSError):  # the caller has given up
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write no access log."""

        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Listen in a thread."""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Listen until ``stop``."""
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()
