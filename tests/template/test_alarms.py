"""What runs by itself and what tells a person: schedules, alarms, and the topic that they go to."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from giftcards.adapters.oneclickdz.supplier import TOTAL_TIMEOUT_SECONDS
from giftcards.contracts.events import OUTGOING_EVENTS
from giftcards.metrics import NAMESPACE, Metric
from giftcards.use_cases.reconcile_orders import STOPS_BEFORE, ReconcileRequest
from giftcards_cli.commands.reconcile import MAX_RUN_SECONDS
from template.permissions import statements
from template.reading import Template, deploy, get_att, load, properties, ref, resources
from template.test_functions import FUNCTIONS

SCHEDULED = {
    "SweepOrdersFunction": "rate(15 minutes)",
    "ReconcileOrdersFunction": "rate(1 hour)",
    "MeasureOrdersFunction": "rate(1 minute)",
}
MINUTES = {"minute": 1, "minutes": 1, "hour": 60}
THE_WORKFLOW = {"StateMachineArn": ref("FulfilOrderStateMachine")}
OF_THIS_STACK = {"service": ref("AWS::StackName"), "stage": ref("Stage")}


@dataclass(frozen=True)
class Rings:
    """What an alarm looks at and when it rings; ``over`` periods of so many seconds, ``of`` so many in a row."""

    statistic: str
    metric: Metric | str
    dimensions: Mapping[str, Any] = field(default_factory=lambda: OF_THIS_STACK)
    when: str = ">= 1"
    seconds: int = 300
    over: int = 1
    of: int = 1

    @property
    def source(self) -> tuple[str, str, Mapping[str, Any], str]:
        """Namespace, metric, dimensions, statistic."""
        if isinstance(self.metric, Metric):
            return NAMESPACE, self.metric.label, self.dimensions, self.statistic
        namespace, _, metric = self.metric.rpartition("/")
        return namespace, metric, self.dimensions, self.statistic


def messages_in(queue: str) -> Rings:
    name = {"QueueName": get_att(queue, "QueueName")}
    return Rings("Maximum", "AWS/SQS/ApproximateNumberOfMessagesVisible", name)


ALARMS = {
    # Those that are held, not those that come to be: it rings until somebody has acted, and where OrderHeld got lost.
    "OrdersHeldAlarm": Rings("Maximum", Metric.ORDERS_HELD),
    "OrdersDisputedAlarm": Rings("Sum", Metric.ORDER_DISPUTED),
    # What shops call delayed; two quarters of an hour, so that one slow order in a small shop does not ring.
    "DeliveryLagAlarm": Rings(
        "p95", Metric.TIME_TO_DELIVERY, when=f"> {ref('DelayedAfterSeconds')}", seconds=900, over=2, of=4
    ),
    "DeadLettersAlarm": messages_in("OrderPlacedDeadLetterQueue"),
    "OrdersSweptAlarm": Rings("Sum", Metric.ORDER_SWEPT, seconds=900),
    "KeyRefusedAlarm": Rings("Sum", Metric.SUPPLIER_KEY_REFUSED),
    # Minute by minute: a sum over five minutes would miss the minute that falls into the next five.
    "GateClosedAlarm": Rings("Maximum", Metric.GATE_CLOSED, seconds=60, over=5, of=5),
    "ReconciliationAlarm": Rings("Sum", Metric.RECONCILIATION_DIFFERENCE, seconds=3600),
    # By hand, a run can be made to fail, or to succeed where the scheduled one could not: the best of an hour counts.
    "ReconciliationIncompleteAlarm": Rings("Minimum", Metric.RECONCILIATION_INCOMPLETE, seconds=3600, over=3, of=4),
    "CardsUnreadableAlarm": Rings("Sum", Metric.CARDS_UNREADABLE),
    # By a way that does not need EventBridge: an order can be held and the event that says so not go out.
    "ExecutionsFailedAlarm": Rings(
        "Sum", "AWS/States/ExecutionsFailed", {"StateMachineArn": ref("FulfilOrderStateMachine")}
    ),
    "FailedSchedulesAlarm": messages_in("FunctionsDeadLetterQueue"),
    "MeasurementsMissingAlarm": Rings("SampleCount", Metric.ORDERS_WAITING, when="< 1", over=2, of=2),
}
SIGNS = {"GreaterThanOrEqualToThreshold": ">=", "GreaterThanThreshold": ">", "LessThanThreshold": "<"}


@dataclass(frozen=True)
class RingsOver:
    """What an alarm over several metrics makes of them, and when it rings."""

    math: tuple[str, Mapping[str, Any]]
    least: int
    over_of: tuple[int, int]


def of_all_functions(metric: str) -> tuple[str, Mapping[str, Any]]:
    return "SUM(METRICS())", {
        function[0].lower() + function.removesuffix("Function")[1:]: (
            *("AWS/Lambda", metric, {"FunctionName": ref(function)}),
            *("Sum", 300),
        )
        for function in FUNCTIONS
    }


def in_a_quarter(statistic: str, metric: Metric) -> tuple[str, str, Mapping[str, Any], str, int]:
    return NAMESPACE, metric.label, OF_THIS_STACK, statistic, 900


OF_SEVERAL = {
    "NoDeliveriesAlarm": RingsOver(
        (
            # 0 * waiting: a metric without data counts as 0 where another one of the sum has data, and only there.
            "IF((waiting > 0) AND ((0 * waiting + delivered + partially + refunded) == 0), 1, 0)",
            {
                "waiting": in_a_quarter("Minimum", Metric.ORDERS_WAITING),
                "delivered": in_a_quarter("Sum", Metric.ORDER_DELIVERED),
                "partially": in_a_quarter("Sum", Metric.ORDER_PARTIALLY_DELIVERED),
                "refunded": in_a_quarter("Sum", Metric.ORDER_REFUNDED),
            },
        ),
        least=1,
        over_of=(2, 2),
    ),
    # One that fails is run again, and nobody need know: a step that keeps failing has failed three times in a minute.
    "FunctionErrorsAlarm": RingsOver(of_all_functions("Errors"), least=3, over_of=(1, 1)),
    "FunctionThrottlesAlarm": RingsOver(of_all_functions("Throttles"), least=10, over_of=(1, 1)),
}
LASTING = {
    *("OrdersHeldAlarm", "DeliveryLagAlarm", "NoDeliveriesAlarm", "DeadLettersAlarm", "GateClosedAlarm"),
    *("ReconciliationIncompleteAlarm", "FailedSchedulesAlarm", "FunctionThrottlesAlarm", "MeasurementsMissingAlarm"),
}
"""Alarms over something that lasts: they say when it is over. The others ring over something that happened."""
THE_TOPIC = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-alarms"
OF_THE_TOPIC = {"kms:EncryptionContext:aws:sns:topicArn": {"Fn::Sub": THE_TOPIC}}
OF_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}


def silent_alarms(template: Template) -> list[str]:
    """Say which alarms nobody hears, ring without a reason, or do not say what to do."""
    found = []
    for name, alarm in resources(template, "AWS::CloudWatch::Alarm").items():
        held = alarm["Properties"]
        if held.get("AlarmActions") != [ref("AlarmTopic")]:
            found.append(f"{name}: AlarmActions has to be the AlarmTopic")
        if held.get("OKActions") != ([ref("AlarmTopic")] if name in LASTING else None):
            found.append(f"{name}: what lasts has an end that the topic hears of, in OKActions; nothing else has")
        if held.get("TreatMissingData") != ("breaching" if name == "MeasurementsMissingAlarm" else "notBreaching"):
            found.append(f"{name}: nothing is measured where nothing happens, so missing data has to be notBreaching")
        if held.get("ActionsEnabled", True) is not True:
            found.append(f"{name}: its actions are switched off")
        if not re.fullmatch(rf"(?:\S+ ){{10,}}Runbook: \${{RunbookUrl}}#{kebab(name)}", said_by(held)):
            found.append(f"{name}: say in AlarmDescription what it means and lead to its section of the runbook")
        if held["AlarmName"] != {"Fn::Sub": f"${{AWS::StackName}}-{kebab(name)}"}:
            found.append(f"{name}: AlarmName has to be the stack's name and its own")
    return found


def kebab(alarm: str) -> str:
    """Give the name by which the alarm's section of the runbook can be linked to."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alarm.removesuffix("Alarm")).lower()


def said_by(alarm: dict[str, Any]) -> str:
    description = alarm.get("AlarmDescription", "")
    return str(description.get("Fn::Sub") if isinstance(description, dict) else description)


def test_every_alarm_is_heard_and_says_what_to_do(on_aws: Template):
    assert not silent_alarms(on_aws)


@pytest.mark.parametrize("name", sorted(set(resources(load(), "AWS::CloudWatch::Alarm")) - set(OF_SEVERAL)))
def test_alarm_looks_at_what_it_should_and_rings_in_time(on_aws: Template, name: str):
    assert name in ALARMS, f"write down in ALARMS what {name} looks at"
    held, rings = properties(on_aws, name), ALARMS[name]
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in held["Dimensions"]}
    statistic = held.get("ExtendedStatistic", held.get("Statistic"))
    assert (held["Namespace"], held["MetricName"], dimensions, statistic) == rings.source
    assert f"{SIGNS[held['ComparisonOperator']]} {held['Threshold']}" == rings.when
    periods = held["EvaluationPeriods"]
    assert (held["Period"], held.get("DatapointsToAlarm", periods), periods) == (rings.seconds, rings.over, rings.of)


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_alarm_over_several_metrics_looks_at_all_of_them(on_aws: Template, name: str):
    held = properties(on_aws, name)
    expression, *metrics = held["Metrics"]
    assert expression["ReturnData"] is True
    looked_at = {}
    for metric in metrics:
        assert metric["ReturnData"] is False
        stat, source = metric["MetricStat"], metric["MetricStat"]["Metric"]
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in source["Dimensions"]}
        looked_at[metric["Id"]] = (source["Namespace"], source["MetricName"], dimensions, stat["Stat"], stat["Period"])
    assert (expression["Expression"], looked_at) == OF_SEVERAL[name].math
    periods = held["EvaluationPeriods"]
    assert (held["ComparisonOperator"], held["Threshold"]) == ("GreaterThanOrEqualToThreshold", OF_SEVERAL[name].least)
    assert (held.get("DatapointsToAlarm", periods), periods) == OF_SEVERAL[name].over_of


def test_every_alarm_that_is_expected_is_there(on_aws: Template):
    assert {*ALARMS, *OF_SEVERAL} == set(resources(on_aws, "AWS::CloudWatch::Alarm"))


def test_only_what_the_local_cloud_cannot_hold_is_left_out_there(on_aws: Template, on_local_cloud: Template):
    alarms = set(resources(on_aws, "AWS::CloudWatch::Alarm"))
    assert alarms - set(resources(on_local_cloud, "AWS::CloudWatch::Alarm")) == set(OF_SEVERAL)


def test_every_dead_letter_queue_has_an_alarm(on_aws: Template):
    watched = [properties(on_aws, name).get("Dimensions") for name in resources(on_aws, "AWS::CloudWatch::Alarm")]
    for queue in resources(on_aws, "AWS::SQS::Queue"):
        assert [{"Name": "QueueName", "Value": get_att(queue, "QueueName")}] in watched, f"nobody hears of {queue}"


def test_every_event_that_needs_a_person_is_sent_to_one(on_aws: Template):
    rule = properties(on_aws, "NeedsAPersonRule")
    fine = {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded", "OrderDelayed", "OrderRepeated"}
    # Of held orders there can be thousands: OrdersHeldAlarm watches their number.
    told = {event.detail_type for event in OUTGOING_EVENTS} - fine - {"OrderHeld"}
    assert rule["EventBusName"] == ref("OrderBus")
    assert rule["EventPattern"]["source"] == ["giftcards"]
    assert told == set(rule["EventPattern"]["detail-type"])
    (target,) = rule["Targets"]
    assert target["Arn"] == ref("AlarmTopic")
    given = target["InputTransformer"]
    sentence = given["InputTemplate"]["Fn::Sub"]
    assert set(re.findall(r"<(\w+)>", sentence)) == set(given["InputPathsMap"])
    assert re.fullmatch(r'"(?:\S+ ){10,}Runbook: \$\{RunbookUrl\}"', sentence)


# The topic.


def test_the_topic_is_encrypted_with_the_storage_key(on_aws: Template):
    assert properties(on_aws, "AlarmTopic")["KmsMasterKeyId"] == get_att("StorageKey")


def test_alarms_and_rules_may_publish_to_the_topic_and_nobody_else(on_aws: Template):
    (policy,) = resources(on_aws, "AWS::SNS::TopicPolicy").values()
    assert policy["Properties"]["Topics"] == [ref("AlarmTopic")]
    allowed = {}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        assert (statement["Action"], statement["Resource"]) == ("sns:Publish", ref("AlarmTopic"))
        allowed[statement["Principal"]["Service"]] = statement.get("Condition")
    # A topic policy can have no condition for EventBridge: nothing would arrive.
    assert allowed == {"cloudwatch.amazonaws.com": OF_THIS_ACCOUNT, "events.amazonaws.com": None}


@pytest.mark.parametrize(
    ("sid", "service", "condition"),
    [
        ("AlarmsOfThisAccount", "cloudwatch.amazonaws.com", OF_THIS_ACCOUNT["StringEquals"] | OF_THE_TOPIC),
        # The key policy of a topic does not support the account for EventBridge: nothing would arrive.
        ("RulesPublishToTopic", "events.amazonaws.com", OF_THE_TOPIC),
    ],
)
def test_who_publishes_to_the_topic_may_use_its_key(
    on_aws: Template, sid: str, service: str, condition: dict[str, Any]
):
    (body,) = (s.body for s in statements(on_aws) if s.name == f"StorageKey.{sid}")
    assert body["Principal"] == {"Service": service}
    assert body["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert body.get("Condition") == {"StringEquals": condition}
    assert THE_TOPIC.endswith(":" + properties(on_aws, "AlarmTopic")["TopicName"]["Fn::Sub"])


# Schedules.


def loose_schedules(template: Template) -> list[str]:
    """Say which schedules do not run their function, by its alias and under the one role for schedules."""
    found = []
    for name, schedule in resources(template, "AWS::Scheduler::Schedule").items():
        held, target = schedule["Properties"], schedule["Properties"]["Target"]
        function = f"{name.removesuffix('Schedule')}Function"
        if target["Arn"] != ref(f"{function}Aliaslive"):
            found.append(f"{name}: its target has to be the alias of {function}")
        if held["ScheduleExpression"] != SCHEDULED.get(function):
            found.append(f"{name}: write down in SCHEDULED how often {function} runs")
        if target["RoleArn"] != get_att("SchedulerRole") or held["FlexibleTimeWindow"] != {"Mode": "OFF"}:
            found.append(f"{name}: it has to run on time, as SchedulerRole")
        if held.get("State", "ENABLED") != "ENABLED":
            found.append(f"{name}: it is switched off")
    return found


def interval_seconds(function: str) -> int:
    count, unit = SCHEDULED[function].removeprefix("rate(").removesuffix(")").split()
    return int(count) * MINUTES[unit] * 60


def test_every_schedule_runs_its_function(on_aws: Template):
    assert not loose_schedules(on_aws)
    assert set(SCHEDULED) <= set(FUNCTIONS)
    names = {f"{function.removesuffix('Function')}Schedule" for function in SCHEDULED}
    assert set(resources(on_aws, "AWS::Scheduler::Schedule")) == names


@pytest.mark.parametrize("function", sorted(SCHEDULED))
def test_a_run_that_fails_is_kept_and_not_repeated(on_aws: Template, function: str):
    kept = properties(on_aws, f"{function}EventInvokeConfig")
    queue = {"OnFailure": {"Destination": get_att("FunctionsDeadLetterQueue")}}
    # The next measurement replaces a missed one, and an hour of misses would leave 60 messages for a person to purge.
    assert kept["DestinationConfig"] == ({} if function == "MeasureOrdersFunction" else queue)
    assert (kept["MaximumRetryAttempts"], kept["Qualifier"]) == (0, "live")


@pytest.mark.parametrize("function", sorted(SCHEDULED))
def test_a_run_ends_before_the_next_one_begins(on_aws: Template, function: str):
    assert properties(on_aws, function)["Timeout"] < interval_seconds(function)


@pytest.mark.parametrize("function", sorted(SCHEDULED))
def test_a_run_that_could_not_start_is_tried_until_the_next_one_is_due(on_aws: Template, function: str):
    schedule = properties(on_aws, f"{function.removesuffix('Function')}Schedule")
    oldest = {
        schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"],
        properties(on_aws, f"{function}EventInvokeConfig")["MaximumEventAgeInSeconds"],
    }
    assert oldest == {interval_seconds(function)}


@pytest.mark.parametrize(
    ("alarm", "function"),
    [
        ("OrdersSweptAlarm", "SweepOrdersFunction"),
        ("ReconciliationAlarm", "ReconcileOrdersFunction"),
        ("ReconciliationIncompleteAlarm", "ReconcileOrdersFunction"),
        ("GateClosedAlarm", "MeasureOrdersFunction"),
    ],
)
def test_alarm_counts_by_the_runs_of_its_function(on_aws: Template, alarm: str, function: str):
    assert properties(on_aws, alarm)["Period"] == interval_seconds(function)


def test_reconciliation_is_asked_for_yesterday_and_today(on_aws: Template):
    # Without Input, Scheduler sends an event of its own.
    event = json.loads(properties(on_aws, "ReconcileOrdersSchedule")["Target"]["Input"])
    assert ReconcileRequest.model_validate(event) == ReconcileRequest()


def test_the_command_line_waits_for_as_long_as_a_reconciliation_may_take(on_aws: Template):
    assert properties(on_aws, "ReconcileOrdersFunction")["Timeout"] < MAX_RUN_SECONDS


def test_a_reconciliation_has_time_before_it_stops_by_itself(on_aws: Template):
    assert properties(on_aws, "ReconcileOrdersFunction")["Timeout"] >= 5 * STOPS_BEFORE.total_seconds()
    assert STOPS_BEFORE.total_seconds() >= TOTAL_TIMEOUT_SECONDS + 10


def test_schedules_and_the_topic_are_on_the_local_cloud_too(on_aws: Template, on_local_cloud: Template):
    kinds = ("AWS::Scheduler::Schedule", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy")
    assert set(resources(on_local_cloud, *kinds)) == set(resources(on_aws, *kinds))


# Breaking the template: each check above has to notice.


def nobody_listens(template: Template) -> None:
    properties(template, "DeadLettersAlarm")["AlarmActions"] = []


def rings_when_idle(template: Template) -> None:
    properties(template, "OrdersSweptAlarm")["TreatMissingData"] = "breaching"


def says_nothing(template: Template) -> None:
    properties(template, "FailedSchedulesAlarm")["AlarmDescription"] = "Failed schedules."


def leads_to_another_section(template: Template) -> None:
    said = properties(template, "FailedSchedulesAlarm")["AlarmDescription"]
    said["Fn::Sub"] = said["Fn::Sub"].replace("#failed-schedules", "#dead-letters")


def never_says_that_it_is_over(template: Template) -> None:
    del properties(template, "GateClosedAlarm")["OKActions"]


def sleeps_when_nobody_measures(template: Template) -> None:
    properties(template, "MeasurementsMissingAlarm")["TreatMissingData"] = "notBreaching"


SILENT = [
    *(nobody_listens, rings_when_idle, says_nothing, leads_to_another_section, never_says_that_it_is_over),
    sleeps_when_nobody_measures,
]


@pytest.mark.parametrize("break_it", SILENT)
def test_a_silent_alarm_is_found(template: Template, break_it: Callable[[Template], None]):
    break_it(template)
    assert silent_alarms(deploy(template, on_aws=True))


def not_by_the_alias(template: Template) -> None:
    properties(template, "SweepOrdersSchedule")["Target"]["Arn"] = get_att("SweepOrdersFunction")


def now_and_then(template: Template) -> None:
    properties(template, "SweepOrdersSchedule")["FlexibleTimeWindow"] = {
        "Mode": "FLEXIBLE",
        "MaximumWindowInMinutes": 15,
    }


def never(template: Template) -> None:
    properties(template, "SweepOrdersSchedule")["State"] = "DISABLED"


@pytest.mark.parametrize("break_it", [not_by_the_alias, now_and_then, never])
def test_a_loose_schedule_is_found(template: Template, break_it: Callable[[Template], None]):
    break_it(template)
    assert loose_schedules(deploy(template, on_aws=True))
