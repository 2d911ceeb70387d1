"""What runs by itself and what tells a person: schedules, alarms, and the topic that they go to."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from giftcards.adapters.supplier import TOTAL_SECONDS
from giftcards.events import ANNOUNCEMENTS
from giftcards.reconcile_orders import STOPS_BEFORE, ReconcileRequest
from giftcards_cli.reconciliation import RUNS_SECONDS
from template.permissions import statements
from template.reading import Template, deploy, get_att, load, properties, ref, resources
from template.test_functions import FUNCTIONS

SCHEDULED = {
    "SweepOrdersFunction": "rate(15 minutes)",
    "ReconcileOrdersFunction": "rate(1 hour)",
    "MeasureOrdersFunction": "rate(1 minute)",
}
MINUTES = {"minute": 1, "minutes": 1, "hour": 60}
OF_THIS_STACK = {"service": ref("AWS::StackName"), "stage": ref("Stage")}
# Not a reference: the workflow needs the aliases of its functions, which need this alarm to be shifted.
WORKFLOW = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:${AWS::StackName}-fulfil-order"
ALARMS = {  # what each looks at: namespace, metric, dimensions, statistic
    "DeadLettersAlarm": (
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        {"QueueName": get_att("OrderPlacedDeadLetterQueue", "QueueName")},
        "Maximum",
    ),
    "FailedSchedulesAlarm": (
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        {"QueueName": get_att("FunctionsDeadLetterQueue", "QueueName")},
        "Maximum",
    ),
    # By a way that does not need EventBridge: an order can be held and the event that says so not go out.
    "ExecutionsFailedAlarm": (
        "AWS/States",
        "ExecutionsFailed",
        {"StateMachineArn": {"Fn::Sub": WORKFLOW}},
        "Sum",
    ),
    "KeyRefusedAlarm": ("giftcards", "SupplierKeyRefused", OF_THIS_STACK, "Sum"),
    "CardsUnreadableAlarm": ("giftcards", "CardsUnreadable", OF_THIS_STACK, "Sum"),
    "OrdersSweptAlarm": ("giftcards", "OrderSwept", OF_THIS_STACK, "Sum"),
    "ReconciliationAlarm": ("giftcards", "ReconciliationDifference", OF_THIS_STACK, "Sum"),
    # By hand, a run can be made to fail, or to succeed where the scheduled one could not: the best of an hour counts.
    "ReconciliationIncompleteAlarm": ("giftcards", "ReconciliationIncomplete", OF_THIS_STACK, "Minimum"),
}
PATIENT = {"ReconciliationIncompleteAlarm": 3}
"""Alarms that ring only after so many periods in a row."""
OF_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}


def silent_alarms(template: Template) -> list[str]:
    """Say which alarms nobody hears, ring without a reason, or do not say what to do."""
    found = []
    for name, alarm in resources(template, "AWS::CloudWatch::Alarm").items():
        held = alarm["Properties"]
        if held.get("AlarmActions") != [ref("AlarmTopic")]:
            found.append(f"{name}: AlarmActions has to be the AlarmTopic")
        if held.get("TreatMissingData") != "notBreaching":
            found.append(f"{name}: nothing is measured where nothing happens, so missing data has to be notBreaching")
        if held.get("ActionsEnabled", True) is not True:
            found.append(f"{name}: its actions are switched off")
        if len(held.get("AlarmDescription", "").split()) < 10:
            found.append(f"{name}: say in AlarmDescription what it means and what to do")
    return found


def test_every_alarm_is_heard_and_says_what_to_do(on_aws: Template):
    assert not silent_alarms(on_aws)


@pytest.mark.parametrize("name", sorted(resources(load(), "AWS::CloudWatch::Alarm")))
def test_alarm_looks_at_what_it_should_and_rings_in_time(on_aws: Template, name: str):
    assert name in ALARMS, f"write down in ALARMS what {name} looks at"
    held = properties(on_aws, name)
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in held["Dimensions"]}
    assert (held["Namespace"], held["MetricName"], dimensions, held["Statistic"]) == ALARMS[name]
    assert (held["Threshold"], held["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert held["EvaluationPeriods"] == held.get("DatapointsToAlarm", 1) == PATIENT.get(name, 1)


def test_every_alarm_that_is_expected_is_there(on_aws: Template):
    assert set(ALARMS) <= set(resources(on_aws, "AWS::CloudWatch::Alarm"))


def test_every_dead_letter_queue_has_an_alarm(on_aws: Template):
    watched = [properties(on_aws, name)["Dimensions"] for name in resources(on_aws, "AWS::CloudWatch::Alarm")]
    for queue in resources(on_aws, "AWS::SQS::Queue"):
        assert [{"Name": "QueueName", "Value": get_att(queue, "QueueName")}] in watched, f"nobody hears of {queue}"


def test_every_event_that_needs_a_person_is_sent_to_one(on_aws: Template):
    rule = properties(on_aws, "NeedsAPersonRule")
    fine = {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded", "OrderDelayed", "OrderRepeated"}
    told = {event.detail_type for event in ANNOUNCEMENTS} - fine
    assert rule["EventBusName"] == ref("OrderBus")
    assert rule["EventPattern"]["source"] == ["giftcards"]
    assert told <= set(rule["EventPattern"]["detail-type"])
    assert [target["Arn"] for target in rule["Targets"]] == [ref("AlarmTopic")]


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
        ("AlarmsOfThisAccount", "cloudwatch.amazonaws.com", OF_THIS_ACCOUNT),
        # The key policy of a topic does not support the account for EventBridge: nothing would arrive.
        ("RulesThatPublishToTheTopic", "events.amazonaws.com", None),
    ],
)
def test_who_publishes_to_the_topic_may_use_its_key(
    on_aws: Template, sid: str, service: str, condition: dict[str, Any] | None
):
    (body,) = (s.body for s in statements(on_aws) if s.name == f"StorageKey.{sid}")
    assert body["Principal"] == {"Service": service}
    assert body["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert body.get("Condition") == condition


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
    assert kept["DestinationConfig"] == {"OnFailure": {"Destination": get_att("FunctionsDeadLetterQueue")}}
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
    ],
)
def test_alarm_counts_by_the_runs_of_its_function(on_aws: Template, alarm: str, function: str):
    assert properties(on_aws, alarm)["Period"] == interval_seconds(function)


def test_reconciliation_is_asked_for_yesterday_and_today(on_aws: Template):
    # Without Input, Scheduler sends an event of its own.
    event = json.loads(properties(on_aws, "ReconcileOrdersSchedule")["Target"]["Input"])
    assert ReconcileRequest.model_validate(event) == ReconcileRequest()


def test_the_command_line_waits_for_as_long_as_a_reconciliation_may_take(on_aws: Template):
    assert properties(on_aws, "ReconcileOrdersFunction")["Timeout"] < RUNS_SECONDS


def test_a_reconciliation_has_time_before_it_stops_by_itself(on_aws: Template):
    assert properties(on_aws, "ReconcileOrdersFunction")["Timeout"] >= 5 * STOPS_BEFORE.total_seconds()
    assert STOPS_BEFORE.total_seconds() >= TOTAL_SECONDS + 10


def test_schedules_and_alarms_are_on_the_local_cloud_too(on_aws: Template, on_local_cloud: Template):
    kinds = ("AWS::Scheduler::Schedule", "AWS::CloudWatch::Alarm", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy")
    assert set(resources(on_local_cloud, *kinds)) == set(resources(on_aws, *kinds))


# Breaking the template: each check above has to notice.


def nobody_listens(template: Template) -> None:
    properties(template, "DeadLettersAlarm")["AlarmActions"] = []


def rings_when_idle(template: Template) -> None:
    properties(template, "OrdersSweptAlarm")["TreatMissingData"] = "breaching"


def says_nothing(template: Template) -> None:
    properties(template, "FailedSchedulesAlarm")["AlarmDescription"] = "Failed schedules."


@pytest.mark.parametrize("break_it", [nobody_listens, rings_when_idle, says_nothing])
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
