"""The dashboard shows every metric, and saved queries use logged fields."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from giftcards.contracts.events import OrderHeld
from giftcards.contracts.workflow import Outcome
from giftcards.metrics import NAMESPACE, Metric
from giftcards.use_cases.reconcile_orders import ReconciliationOutcome
from template.dashboard import Row, load_body, rows
from template.reading import ROOT, Template, properties, resources
from template.test_functions import FUNCTIONS

NOT_SHOWN = {
    Metric.RECONCILIATION_DIFFERENCE: "its three kinds are",
    Metric.VIEW_REFUSED: "its reasons are",
    Metric.AMOUNT_MISSING: "nothing waits for it; the books are completed some day",
}
OF_AWS = {  # metrics of AWS services by namespace and dimension, and the type of the resource that the dimension names
    ("AWS/States", "StateMachineArn"): (
        {"ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsAborted", "ExecutionsTimedOut"}
        | {"ExecutionTime"},
        "AWS::StepFunctions::StateMachine",
    ),
    ("AWS/Lambda", "FunctionName"): (
        {"Errors", "Throttles", "Duration", "ConcurrentExecutions"},
        "AWS::Serverless::Function",
    ),
    ("AWS/SQS", "QueueName"): ({"ApproximateNumberOfMessagesVisible"}, "AWS::SQS::Queue"),
}
MADE_BY_INSIGHTS = {"@timestamp"}
WORDS_OF_QUERIES = {
    *("fields", "filter", "stats", "sort", "limit", "by", "as", "in", "and", "asc", "desc", "min", "max", "count")
}


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    return load_body()


@pytest.fixture(scope="module")
def all_rows(body: dict[str, Any]) -> list[Row]:
    return [row for widget in body["widgets"] for row in rows(widget)]


def metrics_of(listed: Iterable[Row]) -> Iterator[Row]:
    return (row for row in listed if row.expression is None)


def test_widgets_fill_24_columns_without_overlap(body: dict[str, Any]):
    taken: set[tuple[int, int]] = set()
    for widget in body["widgets"]:
        x, y, width, height = (widget[key] for key in ("x", "y", "width", "height"))
        place = {(column, row) for column in range(x, x + width) for row in range(y, y + height)}
        assert not taken & place, f"{widget['properties']} overlaps another widget"
        taken |= place
    height = max(row for _, row in taken) + 1
    assert taken == {(column, row) for column in range(24) for row in range(height)}


def test_every_graph_has_a_title_a_unit_and_starts_at_zero(body: dict[str, Any]):
    graphs = [widget["properties"] for widget in body["widgets"] if widget["type"] == "metric"]
    for held in graphs:
        assert held["title"]
        assert held["region"] == "us-east-1"
        for axis in held.get("yAxis", {"left": {"min": 0, "label": "the unit of the metric"}}).values():
            assert axis["min"] == 0
            assert axis["label"]


def test_every_metric_is_shown_or_excluded_for_a_reason(all_rows: list[Row]):
    shown = {row.name for row in metrics_of(all_rows) if row.namespace == NAMESPACE}
    assert shown == {metric.label for metric in Metric} - {metric.label for metric in NOT_SHOWN}, (
        "show the metric in the dashboard (wiring.yaml), or list it in NOT_SHOWN"
    )


def test_own_metrics_have_the_dimension_of_this_stack(all_rows: list[Row]):
    own = [row.dimensions for row in metrics_of(all_rows) if row.namespace == NAMESPACE]
    assert own == [{"service": "giftcards", "stage": "prod"}] * len(own)


def test_aws_metrics_are_of_resources_of_this_stack(all_rows: list[Row], template: Template):
    for row in metrics_of(all_rows):
        if row.namespace == NAMESPACE:
            continue
        (dimension, value), *index = row.dimensions.items()
        names, kind = OF_AWS[row.namespace, dimension]
        assert row.name in names
        resource = value.removesuffix(".QueueName")
        assert resource in resources(template, kind), f"{row.name} of {value}, which is not a {kind}"
        if index:
            indexes = {index["IndexName"] for index in properties(template, resource)["GlobalSecondaryIndexes"]}
            assert index[0][0] == "GlobalSecondaryIndexName"
            assert index[0][1] in indexes


def test_statistics_fit_the_metrics(body: dict[str, Any]):
    units = {metric.label: metric.unit for metric in Metric}
    gauges = {"OrdersWaiting", "OrdersHeld", "OldestOrderWaiting", "OldestMailDueAge"}
    for widget in body["widgets"]:
        for row in metrics_of(rows(widget)):
            stat = row.options.get("stat", widget["properties"]["stat"])
            if row.name in gauges:
                assert stat == "Maximum", f"{row.name} is a gauge"
            elif units.get(row.name) == "Count":
                assert stat == "Sum", f"{row.name} is a count"


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration", "ConcurrentExecutions"])
def test_every_function_is_shown(all_rows: list[Row], metric: str):
    shown = {row.dimensions["FunctionName"] for row in metrics_of(all_rows) if row.name == metric}
    assert shown == set(FUNCTIONS)


def test_every_alarm_is_shown(body: dict[str, Any], template: Template):
    (widget,) = (widget for widget in body["widgets"] if widget["type"] == "alarm")
    alarms = resources(template, "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm").values()
    names = [alarm["Properties"]["AlarmName"]["Fn::Sub"].replace("${AWS::StackName}", "giftcards") for alarm in alarms]
    arns = {f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}" for name in names}
    assert set(widget["properties"]["alarms"]) == arns
    assert len(widget["properties"]["alarms"]) == len(arns)


def test_dashboard_links_to_the_runbook(body: dict[str, Any]):
    assert "[runbook](RunbookUrl)" in body["widgets"][0]["properties"]["markdown"]


def test_dashboard_is_on_the_local_cloud_too(on_local_cloud: Template):
    assert set(resources(on_local_cloud, "AWS::CloudWatch::Dashboard")) == {"Dashboard"}


def test_every_id_in_an_expression_exists(body: dict[str, Any]):
    for widget in body["widgets"]:
        listed = list(rows(widget))
        ids = [row.options["id"] for row in listed if "id" in row.options]
        assert len(ids) == len(set(ids))
        for row in listed:
            for part in re.findall(r'METRICS\("(\w+)"\)', row.expression or ""):
                assert [name for name in ids if part in name], part
            plain = re.sub(r'"\w+"', "", row.expression or "")
            assert set(re.findall(r"[a-z]\w*", plain)) <= set(ids)


def test_picture_is_in_the_docs():
    assert "](dashboard.png)" in (ROOT / "docs/observability.md").read_text(encoding="utf-8")


# Saved queries.


def logged_by() -> dict[str, set[str]]:
    """Return the keys of log lines in docs/observability.md, and the functions that write each."""
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    table = page.split("| key | functions | meaning |")[1].split("\n\n")[0]
    found: dict[str, set[str]] = {}
    for line in table.splitlines()[2:]:
        keys, functions, _ = line.strip("|").split("|")
        writers = {name.removesuffix("Function") for name in FUNCTIONS} if functions.strip() == "all" else None
        for key in re.findall(r"`(\w+)`", keys):
            found[key] = writers or {name.strip() for name in functions.split(",")}
    return found


def fields_of(query: str) -> set[str]:
    """Return the fields that a query reads, without those that it defines."""
    plain = re.sub(r'"[^"]*"', "", query)
    defined = set(re.findall(r"\bas (\w+)", plain))
    return set(re.findall(r"@?[a-zA-Z_]\w*", plain)) - defined - WORDS_OF_QUERIES - MADE_BY_INSIGHTS


def bad_queries(template: Template) -> list[str]:
    """Return a problem for each log group that does not exist and each field that is not logged in a query's groups."""
    found, logged = [], logged_by()
    for name, query in resources(template, "AWS::Logs::QueryDefinition").items():
        groups = [group["Ref"] for group in query["Properties"]["LogGroupNames"]]
        found += [f"{name}: no log group {group}" for group in groups if group not in template["Resources"]]
        functions = {group.removesuffix("LogGroup") for group in groups}
        for field in sorted(fields_of(query["Properties"]["QueryString"])):
            if not logged.get(field, set()) & functions:
                found.append(f"{name}: {field} is not logged there")
    return found


def test_saved_queries_use_logged_fields(on_aws: Template):
    assert len(resources(on_aws, "AWS::Logs::QueryDefinition")) == 4
    assert not bad_queries(on_aws)


def test_saved_queries_filter_by_logged_values(on_aws: Template):
    queries = resources(on_aws, "AWS::Logs::QueryDefinition").values()
    values = {value for query in queries for value in re.findall(r'"([A-Za-z_]+)"', query["Properties"]["QueryString"])}
    assert values <= {OrderHeld.detail_type, *Outcome, *ReconciliationOutcome}


def test_saved_queries_declare_their_parameters(on_aws: Template):
    for query in resources(on_aws, "AWS::Logs::QueryDefinition").values():
        named = {parameter["Name"] for parameter in query["Properties"].get("Parameters", [])}
        assert set(re.findall(r"\{\{(\w+)\}\}", query["Properties"]["QueryString"])) == named


def test_saved_queries_are_on_aws_only_and_in_the_docs(on_aws: Template, on_local_cloud: Template):
    assert not resources(on_local_cloud, "AWS::Logs::QueryDefinition")
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    for query in resources(on_aws, "AWS::Logs::QueryDefinition").values():
        assert f"| `{query['Properties']['Name']['Fn::Sub'].removeprefix('${AWS::StackName}/')}` |" in page


def misspelt(template: Template) -> None:
    query = properties(template, "SlowestDeliveriesQuery")
    query["QueryString"] = query["QueryString"].replace("ageSeconds", "age")


def elsewhere(template: Template) -> None:
    properties(template, "HeldOrdersQuery")["LogGroupNames"] = [{"Ref": "MeasureOrdersLogGroup"}]


def nowhere(template: Template) -> None:
    properties(template, "HeldOrdersQuery")["LogGroupNames"] = [{"Ref": "HoldOrdersLogGroup"}]


@pytest.mark.parametrize("break_it", [misspelt, elsewhere, nowhere])
def test_query_that_finds_nothing_is_detected(on_aws: Template, break_it: Callable[[Template], None]):
    break_it(on_aws)
    assert bad_queries(on_aws)
