"""Schedules, alarms, and the topic that alarms notify."""

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
from template.reading import Template, as_list, deploy, get_att, load, properties, ref, resources
from template.test_functions import FUNCTIONS

SCHEDULED = {
    "SweepOrdersFunction": "rate(15 minutes)",
    "ReconcileOrdersFunction": "rate(1 hour)",
    "MeasureOrdersFunction": "rate(1 minute)",
    "SendLinkFunction": "rate(15 minutes)",
}
MINUTES = {"minute": 1, "minutes": 1, "hour": 60}
THE_WORKFLOW = {"StateMachineArn": ref("FulfilOrderStateMachine")}
OF_THIS_STACK = {"service": ref("AWS::StackName"), "stage": ref("Stage")}


@dataclass(frozen=True)
class Fires:
    """The metric of an alarm and when it fires: in ``over`` of ``of`` consecutive periods of ``seconds``."""

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


def messages_in(queue: str) -> Fires:
    name = {"QueueName": get_att(queue, "QueueName")}
    return Fires("Maximum", "AWS/SQS/ApproximateNumberOfMessagesVisible", name)


ALARMS = {
    # The number of held orders, not of new ones: it fires until someone has acted, and also if OrderHeld was lost.
    "OrdersHeldAlarm": Fires("Maximum", Metric.ORDERS_HELD),
    "OrdersDisputedAlarm": Fires("Sum", Metric.ORDER_DISPUTED),
    # The threshold is the age at which shops get OrderDelayed. Two quarters of an hour, so that one slow order of a
    # small shop does not fire it.
    "DeliveryLagAlarm": Fires(
        "p95", Metric.TIME_TO_DELIVERY, when=f"> {ref('DelayedAfterSeconds')}", seconds=900, over=2, of=4
    ),
    "DeadLettersAlarm": messages_in("OrderPlacedDeadLetterQueue"),
    "OrdersSweptAlarm": Fires("Sum", Metric.ORDER_SWEPT, seconds=900),
    "KeyRefusedAlarm": Fires("Sum", Metric.SUPPLIER_KEY_REFUSED),
    # Per minute: a sum over five minutes would miss a minute that falls into the next five.
    "GateClosedAlarm": Fires("Maximum", Metric.GATE_CLOSED, seconds=60, over=5, of=5),
    "ReconciliationAlarm": Fires("Sum", Metric.RECONCILIATION_DIFFERENCE, seconds=3600),
    # A manual run can fail, or succeed where the scheduled one could not: the best run of an hour counts.
    "ReconciliationIncompleteAlarm": Fires("Minimum", Metric.RECONCILIATION_INCOMPLETE, seconds=3600, over=3, of=4),
    "CardsUnreadableAlarm": Fires("Sum", Metric.CARDS_UNREADABLE),
    # Does not need EventBridge: an order can be held although OrderHeld could not be published.
    "ExecutionsFailedAlarm": Fires(
        "Sum", "AWS/States/ExecutionsFailed", {"StateMachineArn": ref("FulfilOrderStateMachine")}
    ),
    # One mail that is not sent within an hour has failed at least four times.
    "MailsDueAlarm": Fires("Maximum", Metric.OLDEST_MAIL_DUE, when=">= 3600", seconds=900),
    # Buyers do open old links: thirty of them in a quarter of an hour are not chance.
    "ViewsRefusedAlarm": Fires("Sum", Metric.VIEW_REFUSED, when=">= 30", seconds=900),
    "WebhookDeadLettersAlarm": messages_in("WebhookDeadLetterQueue"),
    # One failed call is repeated by the shop.
    "ShopCallsFailedAlarm": Fires("Sum", Metric.SHOP_CALL_FAILED, when=">= 3"),
    # A shop with an old key repeats its calls.
    "ShopKeyRefusedAlarm": Fires("Sum", Metric.SHOP_KEY_REFUSED, when=">= 10"),
    "FailedSchedulesAlarm": messages_in("FunctionsDeadLetterQueue"),
    "MeasurementsMissingAlarm": Fires("SampleCount", Metric.ORDERS_WAITING, when="< 1", over=2, of=2),
}
SIGNS = {"GreaterThanOrEqualToThreshold": ">=", "GreaterThanThreshold": ">", "LessThanThreshold": "<"}


@dataclass(frozen=True)
class FiresOver:
    """The expression of a metric-math alarm, and when it fires."""

    math: tuple[str, Mapping[str, Any]]
    least: int
    over_of: tuple[int, int]


OF_BUYERS = {
    *("StoreRecipientFunction", "SendLinkFunction", "CreateLinkFunction"),
    *("ServePageFunction", "RedeemLinkFunction", "RecordMailStatusFunction", "ServeShopFunction"),
}
"""Functions with alarms apart from the others': an alarm has at most ten metrics."""
MAX_METRICS = 10


def of_functions(metric: str, functions: set[str]) -> tuple[str, Mapping[str, Any]]:
    return "SUM(METRICS())", {
        function[0].lower() + function.removesuffix("Function")[1:]: (
            *("AWS/Lambda", metric, {"FunctionName": ref(function)}),
            *("Sum", 300),
        )
        for function in functions
    }


def sum_of(seconds: int, **metrics: Metric) -> tuple[str, Mapping[str, Any]]:
    return "SUM(METRICS())", {
        name: (NAMESPACE, metric.label, OF_THIS_STACK, "Sum", seconds) for name, metric in metrics.items()
    }


def in_a_quarter(statistic: str, metric: Metric) -> tuple[str, str, Mapping[str, Any], str, int]:
    return NAMESPACE, metric.label, OF_THIS_STACK, statistic, 900


OF_SEVERAL = {
    "NoDeliveriesAlarm": FiresOver(
        (
            # 0 * waiting: a metric without data counts as 0 only where another metric of the sum has data.
            "IF((waiting > 0) AND ((0 * waiting + delivered + partially + refunded) == 0), 1, 0)",
            {
                "waiting": in_a_quarter("Minimum", Metric.ORDERS_WAITING),
                "delivered": in_a_quarter("Sum", Metric.ORDER_FULFILLED),
                "partially": in_a_quarter("Sum", Metric.ORDER_PARTIALLY_FILLED),
                "refunded": in_a_quarter("Sum", Metric.ORDER_REFUNDED),
            },
        ),
        least=1,
        over_of=(2, 2),
    ),
    # A single failure is retried and needs no alarm: a step that keeps failing has failed three times within a minute.
    "FunctionErrorsAlarm": FiresOver(of_functions("Errors", {*FUNCTIONS} - OF_BUYERS), least=3, over_of=(1, 1)),
    "FunctionThrottlesAlarm": FiresOver(of_functions("Throttles", {*FUNCTIONS} - OF_BUYERS), least=10, over_of=(1, 1)),
    "BuyerFunctionErrorsAlarm": FiresOver(of_functions("Errors", OF_BUYERS), least=3, over_of=(1, 1)),
    "BuyerFunctionThrottlesAlarm": FiresOver(of_functions("Throttles", OF_BUYERS), least=10, over_of=(1, 1)),
    # A buyer's mistyped address is for the shop to correct; one mail that SES keeps refusing counts four times an hour.
    "MailsFailingAlarm": FiresOver(
        sum_of(3600, failed=Metric.MAIL_FAILED, refused=Metric.MAIL_REFUSED), least=3, over_of=(1, 1)
    ),
    # A link locks after five: twenty are more than one buyer's mistakes.
    "WrongCodesAlarm": FiresOver(
        sum_of(900, wrong=Metric.VIEW_WRONG_CODE, locked=Metric.VIEW_CODE_LOCKED), least=20, over_of=(1, 1)
    ),
}
LASTING = {
    *("OrdersHeldAlarm", "DeliveryLagAlarm", "NoDeliveriesAlarm", "DeadLettersAlarm", "GateClosedAlarm"),
    *("ReconciliationIncompleteAlarm", "FailedSchedulesAlarm", "FunctionThrottlesAlarm", "MeasurementsMissingAlarm"),
    *("MailsDueAlarm", "BuyerFunctionThrottlesAlarm", "WebhookDeadLettersAlarm"),
}
"""Alarms about a lasting state also notify when it ends. The others are about an event."""
THE_TOPIC = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-alarms"
OF_THE_TOPIC = {"kms:EncryptionContext:aws:sns:topicArn": {"Fn::Sub": THE_TOPIC}}
OF_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}


def silent_alarms(template: Template) -> list[str]:
    """Return a problem for each alarm that notifies no one, fires without data, or does not link to the runbook."""
    found = []
    for name, alarm in resources(template, "AWS::CloudWatch::Alarm").items():
        held = alarm["Properties"]
        if held.get("AlarmActions") != [ref("AlarmTopic")]:
            found.append(f"{name}: AlarmActions must be the AlarmTopic")
        if held.get("OKActions") != ([ref("AlarmTopic")] if name in LASTING else None):
            found.append(f"{name}: OKActions must be the AlarmTopic for alarms in LASTING, and absent for others")
        if held.get("TreatMissingData") != ("breaching" if name == "MeasurementsMissingAlarm" else "notBreaching"):
            found.append(f"{name}: TreatMissingData must be notBreaching: without orders there is no data")
        if held.get("ActionsEnabled", True) is not True:
            found.append(f"{name}: its actions are disabled")
        if not re.fullmatch(rf"(?:\S+ ){{10,}}Runbook: \${{RunbookUrl}}#{kebab(name)}", description_of(held)):
            found.append(f"{name}: AlarmDescription must say what happened and link to its runbook section")
        if held["AlarmName"] != {"Fn::Sub": f"${{AWS::StackName}}-{kebab(name)}"}:
            found.append(f"{name}: AlarmName must be the stack's name and the alarm's")
    return found


def kebab(alarm: str) -> str:
    """Return the anchor of the alarm's section in the runbook."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alarm.removesuffix("Alarm")).lower()


def description_of(alarm: dict[str, Any]) -> str:
    description = alarm.get("AlarmDescription", "")
    return str(description.get("Fn::Sub") if isinstance(description, dict) else description)


def test_every_alarm_notifies_and_links_to_the_runbook(on_aws: Template):
    assert not silent_alarms(on_aws)


@pytest.mark.parametrize("name", sorted(set(resources(load(), "AWS::CloudWatch::Alarm")) - set(OF_SEVERAL)))
def test_alarm_watches_its_metric_and_fires_in_time(on_aws: Template, name: str):
    assert name in ALARMS, f"add to ALARMS what {name} watches"
    held, fires = properties(on_aws, name), ALARMS[name]
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in held["Dimensions"]}
    statistic = held.get("ExtendedStatistic", held.get("Statistic"))
    assert (held["Namespace"], held["MetricName"], dimensions, statistic) == fires.source
    assert f"{SIGNS[held['ComparisonOperator']]} {held['Threshold']}" == fires.when
    periods = held["EvaluationPeriods"]
    assert (held["Period"], held.get("DatapointsToAlarm", periods), periods) == (fires.seconds, fires.over, fires.of)


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_metric_math_alarm_watches_all_its_metrics(on_aws: Template, name: str):
    held = properties(on_aws, name)
    assert len(held["Metrics"]) <= MAX_METRICS
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


def test_every_expected_alarm_exists(on_aws: Template):
    assert {*ALARMS, *OF_SEVERAL} == set(resources(on_aws, "AWS::CloudWatch::Alarm"))


def test_only_metric_math_alarms_are_missing_on_the_local_cloud(on_aws: Template, on_local_cloud: Template):
    alarms = set(resources(on_aws, "AWS::CloudWatch::Alarm"))
    assert alarms - set(resources(on_local_cloud, "AWS::CloudWatch::Alarm")) == set(OF_SEVERAL)


def test_every_dead_letter_queue_has_an_alarm(on_aws: Template):
    watched = [properties(on_aws, name).get("Dimensions") for name in resources(on_aws, "AWS::CloudWatch::Alarm")]
    for queue in resources(on_aws, "AWS::SQS::Queue"):
        assert [{"Name": "QueueName", "Value": get_att(queue, "QueueName")}] in watched, f"no alarm watches {queue}"


def test_every_event_that_needs_a_person_reaches_the_topic(on_aws: Template):
    rule = properties(on_aws, "NeedsAPersonRule")
    fine = {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded", "OrderDelayed", "OrderRepeated"}
    # The shop asks its buyer for another address. MailsFailingAlarm watches the number.
    fine |= {"LinkMailSent", "LinkMailFailed", "LinkMailBounced", "CardsViewed"}
    # There can be thousands of held orders: OrdersHeldAlarm watches their number.
    sent = {event.detail_type for event in OUTGOING_EVENTS} - fine - {"OrderHeld"}
    assert rule["EventBusName"] == ref("OrderBus")
    assert rule["EventPattern"]["source"] == ["giftcards"]
    assert sent == set(rule["EventPattern"]["detail-type"])
    (target,) = rule["Targets"]
    assert target["Arn"] == ref("AlarmTopic")
    given = target["InputTransformer"]
    sentence = given["InputTemplate"]["Fn::Sub"]
    assert set(re.findall(r"<(\w+)>", sentence)) == set(given["InputPathsMap"])
    assert re.fullmatch(r'"(?:\S+ ){10,}Runbook: \$\{RunbookUrl\}"', sentence)


# The topic.


def test_the_topic_is_encrypted_with_the_storage_key(on_aws: Template):
    assert properties(on_aws, "AlarmTopic")["KmsMasterKeyId"] == get_att("StorageKey")


def test_only_alarms_and_rules_may_publish_to_the_topic(on_aws: Template):
    (policy,) = resources(on_aws, "AWS::SNS::TopicPolicy").values()
    assert policy["Properties"]["Topics"] == [ref("AlarmTopic")]
    allowed = {}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        assert (statement["Action"], statement["Resource"]) == ("sns:Publish", ref("AlarmTopic"))
        allowed[statement["Principal"]["Service"]] = statement.get("Condition")
    # EventBridge supports no condition in a topic policy: nothing would arrive.
    assert allowed == {"cloudwatch.amazonaws.com": OF_THIS_ACCOUNT, "events.amazonaws.com": None}


@pytest.mark.parametrize(
    ("sid", "service", "condition"),
    [
        ("AlarmsOfThisAccount", "cloudwatch.amazonaws.com", OF_THIS_ACCOUNT["StringEquals"] | OF_THE_TOPIC),
        # EventBridge does not support aws:SourceAccount in the key policy of a topic: nothing would arrive.
        ("RulesPublishToTopic", "events.amazonaws.com", OF_THE_TOPIC),
    ],
)
def test_publishers_to_the_topic_may_use_its_key(on_aws: Template, sid: str, service: str, condition: dict[str, Any]):
    (body,) = (s.body for s in statements(on_aws) if s.name == f"StorageKey.{sid}")
    assert body["Principal"] == {"Service": service}
    assert body["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert body.get("Condition") == {"StringEquals": condition}
    assert THE_TOPIC.endswith(":" + properties(on_aws, "AlarmTopic")["TopicName"]["Fn::Sub"])


# Schedules.


def loose_schedules(template: Template) -> list[str]:
    """Return a problem for each schedule that does not run its function by alias, under SchedulerRole, at its rate."""
    found = []
    for name, schedule in resources(template, "AWS::Scheduler::Schedule").items():
        held, target = schedule["Properties"], schedule["Properties"]["Target"]
        function = f"{name.removesuffix('Schedule')}Function"
        if target["Arn"] != ref(f"{function}Aliaslive"):
            found.append(f"{name}: its target must be the alias of {function}")
        if held["ScheduleExpression"] != SCHEDULED.get(function):
            found.append(f"{name}: SCHEDULED and ScheduleExpression differ for {function} runs")
        if target["RoleArn"] != get_att("SchedulerRole") or held["FlexibleTimeWindow"] != {"Mode": "OFF"}:
            found.append(f"{name}: it must run on time, under SchedulerRole")
        if held.get("State", "ENABLED") != "ENABLED":
            found.append(f"{name}: it is disabled")
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
def test_failed_run_is_kept_and_not_retried(on_aws: Template, function: str):
    kept = properties(on_aws, f"{function}EventInvokeConfig")
    queue = {"OnFailure": {"Destination": get_att("FunctionsDeadLetterQueue")}}
    # The next measurement replaces a missed one, and an hour of misses would leave 60 messages to purge.
    assert kept["DestinationConfig"] == ({} if function == "MeasureOrdersFunction" else queue)
    # SendLink also gets the event of a delivery, which no next run repeats.
    assert (kept["MaximumRetryAttempts"], kept["Qualifier"]) == (2 if function == "SendLinkFunction" else 0, "live")


@pytest.mark.parametrize("function", sorted(SCHEDULED))
def test_run_ends_before_the_next_one_starts(on_aws: Template, function: str):
    assert properties(on_aws, function)["Timeout"] < interval_seconds(function)


@pytest.mark.parametrize("function", sorted(SCHEDULED))
def test_failed_start_is_retried_until_the_next_run_is_due(on_aws: Template, function: str):
    schedule = properties(on_aws, f"{function.removesuffix('Function')}Schedule")
    oldest = {schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"]}
    if function != "SendLinkFunction":  # it also gets events, which are worth more than a run
        oldest.add(properties(on_aws, f"{function}EventInvokeConfig")["MaximumEventAgeInSeconds"])
    assert oldest == {interval_seconds(function)}


@pytest.mark.parametrize("function", ["StoreRecipientFunction", "SendLinkFunction", "RecordMailStatusFunction"])
def test_event_about_a_mail_is_retried_for_hours_and_then_kept(on_aws: Template, function: str):
    kept = properties(on_aws, f"{function}EventInvokeConfig")
    assert kept["DestinationConfig"] == {"OnFailure": {"Destination": get_att("FunctionsDeadLetterQueue")}}
    assert (kept["MaximumRetryAttempts"], kept["MaximumEventAgeInSeconds"]) == (2, 6 * 3600)
    (rule,) = (
        rule["Properties"]
        for rule in resources(on_aws, "AWS::Events::Rule").values()
        if rule["Properties"]["Targets"][0]["Arn"] == ref(f"{function}Aliaslive")
    )
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}
    assert target["DeadLetterConfig"] == {"Arn": get_att("FunctionsDeadLetterQueue")}


def test_every_rule_may_send_to_its_dead_letter_queue(on_aws: Template):
    allowed: dict[str, set[str]] = {}
    for policy in resources(on_aws, "AWS::SQS::QueuePolicy").values():
        (queue,) = policy["Properties"]["Queues"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            arns = as_list(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
            allowed[queue["Ref"]] = {arn["Fn::GetAtt"][0] for arn in arns}
    needed: dict[str, set[str]] = {}
    for name, rule in resources(on_aws, "AWS::Events::Rule").items():
        for target in rule["Properties"]["Targets"]:
            needed.setdefault(target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0], set()).add(name)
    assert allowed == needed


@pytest.mark.parametrize(
    ("alarm", "function"),
    [
        ("OrdersSweptAlarm", "SweepOrdersFunction"),
        ("ReconciliationAlarm", "ReconcileOrdersFunction"),
        ("ReconciliationIncompleteAlarm", "ReconcileOrdersFunction"),
        ("GateClosedAlarm", "MeasureOrdersFunction"),
        ("MailsDueAlarm", "SendLinkFunction"),
    ],
)
def test_alarm_period_matches_the_runs_of_its_function(on_aws: Template, alarm: str, function: str):
    assert properties(on_aws, alarm)["Period"] == interval_seconds(function)


def test_scheduled_reconciliation_covers_yesterday_and_today(on_aws: Template):
    # Without Input, Scheduler sends its default event.
    event = json.loads(properties(on_aws, "ReconcileOrdersSchedule")["Target"]["Input"])
    assert ReconcileRequest.model_validate(event) == ReconcileRequest()


def test_command_line_waits_for_the_longest_reconciliation(on_aws: Template):
    assert properties(on_aws, "ReconcileOrdersFunction")["Timeout"] < MAX_RUN_SECONDS


def test_reconciliation_has_time_before_it_stops(on_aws: Template):
    assert properties(on_aws, "ReconcileOrdersFunction")["Timeout"] >= 5 * STOPS_BEFORE.total_seconds()
    assert STOPS_BEFORE.total_seconds() >= TOTAL_TIMEOUT_SECONDS + 10


def test_schedules_and_the_topic_exist_on_the_local_cloud(on_aws: Template, on_local_cloud: Template):
    kinds = ("AWS::Scheduler::Schedule", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy")
    assert set(resources(on_local_cloud, *kinds)) == set(resources(on_aws, *kinds))


# Each check above must detect a broken template.


def notifies_no_one(template: Template) -> None:
    properties(template, "DeadLettersAlarm")["AlarmActions"] = []


def fires_when_idle(template: Template) -> None:
    properties(template, "OrdersSweptAlarm")["TreatMissingData"] = "breaching"


def says_too_little(template: Template) -> None:
    properties(template, "FailedSchedulesAlarm")["AlarmDescription"] = "Failed schedules."


def links_to_another_section(template: Template) -> None:
    description = properties(template, "FailedSchedulesAlarm")["AlarmDescription"]
    description["Fn::Sub"] = description["Fn::Sub"].replace("#failed-schedules", "#dead-letters")


def does_not_notify_of_its_end(template: Template) -> None:
    del properties(template, "GateClosedAlarm")["OKActions"]


def ignores_missing_measurements(template: Template) -> None:
    properties(template, "MeasurementsMissingAlarm")["TreatMissingData"] = "notBreaching"


SILENT = [
    *(notifies_no_one, fires_when_idle, says_too_little, links_to_another_section, does_not_notify_of_its_end),
    ignores_missing_measurements,
]


@pytest.mark.parametrize("break_it", SILENT)
def test_silent_alarm_is_detected(template: Template, break_it: Callable[[Template], None]):
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
def test_loose_schedule_is_detected(template: Template, break_it: Callable[[Template], None]):
    break_it(template)
    assert loose_schedules(deploy(template, on_aws=True))
