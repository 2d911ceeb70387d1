"""Functions: names, logs, settings, builds. One grammar: state X, functions/x, XFunction, XLogGroup."""

import inspect
import re
from collections.abc import Callable

import pytest

from giftcards import buyer_root, settings
from support.scripts import load as load_script
from template.reading import ROOT, Template, deploy, get_att, load, load_workflow, properties, ref, resources, transform

FUNCTIONS = sorted(resources(load(), "AWS::Serverless::Function"))
VARIABLE = re.compile(
    r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*_(NAME|ARN|URL|SCHEDULE|SECONDS|DAYS|USES|LANGUAGE|CONTACT|FROM|SET)"
)


def step(function: str) -> str:
    """``CheckStatusFunction`` -> ``CheckStatus``."""
    return function.removesuffix("Function")


def words(function: str, separator: str) -> str:
    """``CheckStatusFunction`` -> ``check_status``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", separator, step(function)).lower()


def unwatched(template: Template, function: str) -> list[str]:
    """Return what a transformed function lacks for complete logs and traces."""
    held, found = properties(template, function), []
    group = f"{step(function)}LogGroup"
    logging = held.get("LoggingConfig", {})
    if logging.get("LogGroup") != ref(group):
        found.append(f"{function}: LoggingConfig.LogGroup must be !Ref {group}, else Lambda makes one without end")
    if logging.get("LogFormat") != "JSON":
        found.append(f"{function}: LoggingConfig.LogFormat must be JSON")
    if held.get("TracingConfig") != {"Mode": "Active"}:
        found.append(f"{function}: Tracing must be Active")
    return found + careless_log_group(template, group, f"/aws/lambda/${{AWS::StackName}}-{words(function, '-')}")


def careless_log_group(template: Template, group: str, name: str) -> list[str]:
    """Return what a log group lacks."""
    if group not in resources(template, "AWS::Logs::LogGroup"):
        return [f"add the log group {group}"]
    expected = {
        "LogGroupName": {"Fn::Sub": name},
        "RetentionInDays": ref("LogRetentionDays"),
        "KmsKeyId": get_att("StorageKey"),
    }
    held = properties(template, group)
    return [f"{group}: {key} must be {value}" for key, value in expected.items() if held.get(key) != value]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_has_logs_and_traces(on_aws: Template, function: str):
    assert not unwatched(on_aws, function)


def test_page_has_an_access_log(on_aws: Template):
    name = "/aws/vendedlogs/apis/${AWS::StackName}-page"
    assert not careless_log_group(on_aws, "PageAccessLogGroup", name)


def test_workflow_has_logs_and_traces(on_aws: Template):
    name = "/aws/vendedlogs/states/${AWS::StackName}-fulfil-order"
    assert not careless_log_group(on_aws, "FulfilOrderLogGroup", name)


def test_every_log_group_belongs_to_a_function_the_workflow_or_the_page(template: Template):
    owners = {f"{step(function)}LogGroup" for function in FUNCTIONS} | {"FulfilOrderLogGroup", "PageAccessLogGroup"}
    assert set(resources(template, "AWS::Logs::LogGroup")) == owners


@pytest.mark.parametrize("function", FUNCTIONS)
def test_names_follow_the_grammar(template: Template, function: str):
    assert function.endswith("Function"), f"call {function} XFunction"
    assert properties(template, function)["CodeUri"] == f"functions/{words(function, '_')}"
    assert (ROOT / "functions" / words(function, "_") / "app.py").is_file()
    assert properties(template, function).get("Description"), f"{function}: Description must say what it does"


def test_every_function_folder_is_deployed():
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    assert folders == {words(function, "_") for function in FUNCTIONS}


def test_function_states_are_named_after_their_functions():
    for name, state in load_workflow()["States"].items():
        if state.get("Resource") == "arn:${Partition}:states:::lambda:invoke":
            assert state["Arguments"]["FunctionName"] == f"${{{name}FunctionArn}}"
            assert f"{name}Function" in FUNCTIONS


@pytest.mark.parametrize("function", FUNCTIONS)
def test_runtime_and_architecture_are_parameters(on_aws: Template, function: str):
    assert properties(on_aws, function)["Runtime"] == ref("PythonRuntime")
    assert properties(on_aws, function)["Architectures"] == [ref("Architecture")]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_is_built_by_uv(template: Template, function: str):
    # uv builds for python3.13 on arm64 on any host; SAM's other builders need that Python installed.
    assert template["Resources"][function]["Metadata"] == {"BuildMethod": "python-uv"}
    assert (ROOT / properties(template, function)["CodeUri"] / "requirements.txt").is_file()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_new_layer_alone_moves_the_alias(template: Template, on_aws: Template, function: str):
    assert properties(template, function).get("AutoPublishAliasAllProperties") is True, (
        f"{function}: without AutoPublishAliasAllProperties the alias stays on the old layer"
    )
    assert properties(on_aws, f"{function}Aliaslive")["FunctionName"] == ref(function)


def test_layers_are_built_for_the_functions(template: Template):
    folder = {"Fn::Sub": "layers/targets/${PythonRuntime}-${Architecture}"}
    for name, layer in resources(template, "AWS::Serverless::LayerVersion").items():
        assert layer["Metadata"]["BuildMethod"] == "makefile", f"{name}: SAM does not build layers with uv"
        assert layer["Properties"]["CompatibleRuntimes"] == [ref("PythonRuntime")]
        assert layer["Properties"]["CompatibleArchitectures"] == [ref("Architecture")]
        assert layer["Metadata"]["ContextPath"] == {"Fn::If": ["OnAws", folder, "layers/targets/local"]}
        assert layer["Metadata"]["BuildArchitecture"] == ref("Architecture")
        assert f"build-{name}:" in (ROOT / "layers/build.mk").read_text()


def test_every_runtime_and_architecture_is_built_or_refused(template: Template):
    runtimes, processors = (template["Parameters"][name]["AllowedValues"] for name in ("PythonRuntime", "Architecture"))
    targets = {f"{runtime}-{processor}" for runtime in runtimes for processor in processors}
    assert {path.name for path in (ROOT / "layers/targets").iterdir()} == targets | {"local"}
    (assertion,) = template["Rules"]["RuntimeThatAwsTakes"]["Assertions"]
    taken, _ = assertion["Assert"]["Fn::Contains"]
    refused = {name for name in targets if "$(error" in (ROOT / "layers/targets" / name / "Makefile").read_text()}
    assert {name for name in targets if name.split("-")[0] not in taken} == refused
    assert template["Rules"]["RuntimeThatAwsTakes"]["RuleCondition"] == {"Fn::Equals": [ref("DeployTarget"), "aws"]}


def test_only_functions_that_handle_cards_can_encrypt(template: Template):
    having = {name for name in FUNCTIONS if ref("EncryptionLayer") in properties(template, name).get("Layers", [])}
    assert having == {"DeliverCardsFunction", "RevealCardsFunction", "RedeemLinkFunction"}


def test_only_functions_that_write_pages_and_mails_have_jinja(template: Template):
    having = {name for name in FUNCTIONS if ref("PageLayer") in properties(template, name).get("Layers", [])}
    assert having == {"CreateLinkFunction", "SendLinkFunction", "ServePageFunction"}


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if step(name) in load_workflow()["States"]])
def test_task_timeout_exceeds_its_functions(template: Template, function: str):
    state = load_workflow()["States"][step(function)]
    assert state["TimeoutSeconds"] > properties(template, function)["Timeout"]


def variables_read(function: str) -> set[str]:
    if function == "ServePageFunction":  # it reads them without pydantic, which would double its cold start
        source = inspect.getsource(buyer_root.link_page)
        return set(re.findall(r'environment\["(\w+)"\]', source)) | {"STAGE_NAME"}  # every function has it, for metrics
    model = getattr(settings, f"{step(function)}Settings")
    return {field.alias for field in model.model_fields.values()}


def wrong_variables(template: Template, function: str) -> list[str]:
    """Return the variables that a transformed function lacks, and those that it never reads."""
    read = variables_read(function) - {"AWS_ENDPOINT_URL"}  # the local cloud sets it in every function
    # Powertools reads the first; the second only has to differ between releases.
    unread = {"POWERTOOLS_SERVICE_NAME", "RELEASE_NAME"}
    deployed = set(properties(template, function)["Environment"]["Variables"]) - unread
    missing = [f"{function}: set {name}, which it reads" for name in sorted(read - deployed)]
    return missing + [f"{function}: delete {name}, which nothing reads" for name in sorted(deployed - read)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_gets_the_variables_it_reads(on_aws: Template, function: str):
    assert not wrong_variables(on_aws, function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_variable_names_match_their_content(on_aws: Template, function: str):
    named_otherwise = [
        name for name in properties(on_aws, function)["Environment"]["Variables"] if not VARIABLE.fullmatch(name)
    ]
    assert not named_otherwise, f"{function}: the names must end as {VARIABLE.pattern} says"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_variable_values_match_their_names(on_aws: Template, function: str):
    tables = resources(on_aws, "AWS::DynamoDB::Table")
    for name, value in properties(on_aws, function)["Environment"]["Variables"].items():
        if name.endswith("_TABLE_NAME"):
            assert value["Ref"] in tables, f"{function}.{name}: must be the name of a table"
        if name.endswith("_ARN"):
            if value in ({"Fn::Sub": f"${{{name}Function.Arn}}:live"} for name in ("RedeemLink", "CreateLink")):
                continue  # an alias, by name: !Ref of it would be a dependency cycle
            # !Ref of a secret is a name on the local cloud, !GetAtt Secret.Id the ARN on both.
            assert value["Fn::GetAtt"][1] in {"Arn", "Id"}, f"{function}.{name}: must be an ARN"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_variable_holds_a_secret(on_aws: Template, function: str):
    assert "{{resolve:" not in str(properties(on_aws, function)["Environment"]), "read it at run time; do not deploy it"


# Each check above must detect a broken template.


def no_log_group(template: Template) -> None:
    del properties(template, "CheckStatusFunction")["LoggingConfig"]


def log_group_for_ever(template: Template) -> None:
    del properties(template, "CheckStatusLogGroup")["RetentionInDays"]


def log_group_without_key(template: Template) -> None:
    del properties(template, "CheckStatusLogGroup")["KmsKeyId"]


def log_group_of_another(template: Template) -> None:
    properties(template, "CheckStatusFunction")["LoggingConfig"]["LogGroup"] = ref("RevealCardsLogGroup")


def text_logs(template: Template) -> None:
    template["Globals"]["Function"]["LoggingConfig"]["LogFormat"] = "Text"
    for setting in ("ApplicationLogLevel", "SystemLogLevel"):
        del template["Globals"]["Function"]["LoggingConfig"][setting]


def no_traces(template: Template) -> None:
    del template["Globals"]["Function"]["Tracing"]


@pytest.mark.parametrize(
    "break_it",
    [no_log_group, log_group_for_ever, log_group_without_key, log_group_of_another, text_logs, no_traces],
)
def test_unwatched_function_is_detected(template: Template, break_it: Callable[[Template], None]):
    break_it(template)
    assert unwatched(deploy(template, on_aws=True), "CheckStatusFunction")


def test_missing_variable_is_detected(template: Template):
    del properties(template, "DeliverCardsFunction")["Environment"]["Variables"]["CARD_KEY_ARN"]
    (found,) = wrong_variables(deploy(template, on_aws=True), "DeliverCardsFunction")
    assert "CARD_KEY_ARN" in found


@pytest.mark.parametrize(("layer", "users"), [("CoreLayer", len(FUNCTIONS)), ("EncryptionLayer", 3), ("PageLayer", 3)])
def test_layer_change_publishes_the_functions_that_use_it(template: Template, layer: str, users: int):
    def versions() -> set[str]:
        return set(resources(transform(template), "AWS::Lambda::Version"))

    before = versions()
    properties(template, layer)["ContentUri"] += "-changed"

    assert len(versions() - before) == users, f"{layer} needs PublishLambdaVersion, or the alias keeps old code"


def test_bench_sets_every_deployed_variable(on_aws: Template):
    bench = load_script("bench/handlers.py", "bench_handlers")

    for function in bench.BUILDERS:
        assert set(properties(on_aws, function)["Environment"]["Variables"]) <= set(bench.ENVIRONMENT)
