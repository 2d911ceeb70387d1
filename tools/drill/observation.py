"""What the alarms watch and send, read from the local cloud."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.metrics import Metric
from giftcards_local.processes import wait_for
from support.service import Service

MAX_WAIT_SECONDS = 120.0
RESUMED_WITHIN_SECONDS = 180.0
"""A container reads a new key after a minute, and orders poll an unblocked gate with exponential backoff."""


@dataclass
class Observation:
    """The service since a failure began. Methods that wait return what they found, for the report.

    Attributes
    ----------
    order_id
        The order that the failure is about; "" before there is one.
    since
        Metrics and log lines before this time are ignored.
    """

    service: Service
    order_id: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def topic_queue(self) -> str:
        """The URL of a queue that is subscribed to the alarm topic."""
        sqs, sns = self.client("sqs"), self.client("sns")
        url = str(sqs.create_queue(QueueName="on-call")["QueueUrl"])
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [topic | {"Resource": arn}]}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        sns.subscribe(TopicArn=self.service.stack.outputs["AlarmTopicArn"], Protocol="sqs", Endpoint=arn)
        return url

    def client(self, service: str) -> Any:
        """Return a boto3 client of the local cloud."""
        return self.service.cloud.client(service)

    def values(self, metric: Metric) -> list[tuple[float, float]]:
        """Return the values of a metric that functions emitted, each with its time in seconds since 1970."""
        found = list[tuple[float, float]]()
        logs, start = self.client("logs"), int(self.since.timestamp() * 1000)
        for group in logs.describe_log_groups()["logGroups"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=start
            )
            for line in (line for page in pages for event in page["events"] for line in event["message"].splitlines()):
                if f'"{metric.label}"' not in line or '"_aws"' not in line:
                    continue
                document = json.loads(line[line.index("{") :])
                at = document["_aws"]["Timestamp"]
                if at >= start:
                    values = document[metric.label]
                    found += [(at / 1000, value) for value in (values if isinstance(values, list) else [values])]
        return found

    def emitted(self, metric: Metric, least: float = 1) -> str:
        """Wait until the values of a metric add up to ``least``."""
        total = 0.0

        def is_emitted() -> bool:
            nonlocal total
            total = sum(value for _, value in self.values(metric))
            return total >= least

        assert wait_for(is_emitted, within_seconds=MAX_WAIT_SECONDS), f"{metric.label} is {total}, not {least}"
        return f"{metric.label} {total:g}"

    def failed_invocations(self, least: int) -> str:
        """Count the function invocations that failed in the order's execution; Lambda counts them as Errors."""
        order = self.service.stack.orders.get(self.order_id)
        assert order is not None
        history = self.client("stepfunctions").get_execution_history(executionArn=order.execution_arn)
        details = [event.get("taskFailedEventDetails", {}) for event in history["events"]]
        times = sum(failure.get("resource", "").endswith("lambda:invoke") for failure in details)
        assert times >= least, f"{times} invocations failed, not {least}"
        return f"AWS/Lambda Errors {times}"

    def throttled(self, function: str) -> str:
        """Wait until Lambda has counted a throttle of a function."""
        name, total = self.service.physical_id(f"{function}Function"), 0.0

        def is_counted() -> bool:
            nonlocal total
            answer = self.client("cloudwatch").get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName="Throttles",
                Dimensions=[{"Name": "FunctionName", "Value": name}],
                StartTime=self.since - timedelta(seconds=1),
                EndTime=datetime.now(UTC) + timedelta(seconds=60),
                Period=60,
                Statistics=["Sum"],
            )
            total = sum(point["Sum"] for point in answer["Datapoints"])
            return bool(total >= 1)

        assert wait_for(is_counted, within_seconds=MAX_WAIT_SECONDS), f"no throttle of {function} is counted"
        return f"AWS/Lambda Throttles {total:g}"

    def queue_length(self, queue: str) -> int:
        """Return the number of visible messages in a queue."""
        name = "ApproximateNumberOfMessages"
        answer = self.client("sqs").get_queue_attributes(
            QueueUrl=self.service.physical_id(queue), AttributeNames=[name]
        )
        return int(answer["Attributes"][name])

    def queued(self, queue: str) -> str:
        """Wait until a queue has a message."""
        assert wait_for(lambda: self.queue_length(queue) > 0, within_seconds=90), f"{queue} stays empty"
        return f"AWS/SQS messages visible {self.queue_length(queue)}"

    def held(self, reason: HeldReason) -> str:
        """Wait until the order is held for this reason, and its metrics are emitted."""
        order = self.service.until_status(self.order_id, OrderStatus.HELD)
        assert order.held_reason is reason, f"held as {order.held_reason}"
        return f"{self.emitted(Metric.of_hold(reason))}, {self.emitted(Metric.ORDER_HELD)}"

    def until_published(self) -> None:
        """Wait until the order is closed and its event is published."""
        self.service.until_published(self.order_id, within=RESUMED_WITHIN_SECONDS)

    def fire(self, alarm: str) -> str:
        """Fire an alarm, and wait for its message at the topic. Return the alarm's description."""
        name, cloudwatch = self.service.physical_id(alarm), self.client("cloudwatch")
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="drill")
        _ = self.topic_queue
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="drill")
        descriptions: list[str] = []

        def has_arrived() -> bool:
            descriptions.extend(
                message["AlarmDescription"]
                for message in self._alarm_messages()
                if message["AlarmName"] == name and message["NewStateValue"] == "ALARM"
            )
            return bool(descriptions)

        assert wait_for(has_arrived, within_seconds=MAX_WAIT_SECONDS), f"no message of {name} arrives at the topic"
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="drill")
        return descriptions[0]

    def _alarm_messages(self) -> list[dict[str, Any]]:
        sqs, found = self.client("sqs"), list[dict[str, Any]]()
        for message in sqs.receive_message(QueueUrl=self.topic_queue, MaxNumberOfMessages=10).get("Messages", []):
            sqs.delete_message(QueueUrl=self.topic_queue, ReceiptHandle=message["ReceiptHandle"])
            with suppress(ValueError):  # the topic also gets texts about single orders
                document = json.loads(json.loads(message["Body"])["Message"])
                if isinstance(document, dict) and "AlarmName" in document:
                    found.append(document)
        return found
