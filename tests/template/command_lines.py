"""Find the command lines of a block, and check that their commands and options exist.

Bash reads the block with a function for every program. So quotes, continued lines and substitutions work as in a shell,
and nothing runs.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import click
import jmespath
import typer.main
from botocore import xform_name
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator
from samcli.cli.main import cli as sam
from typer.exceptions import TyperException

from giftcards_cli.main import app
from template.reading import ROOT

OURS = ("aws", "sam", "giftcards", "make")
FOREIGN = ("cd", "cat", "curl", "git", "grep", "jq", "python", "rm", "sed", "sleep", "source")
NAMED = rf"(?<![\w./\"'-])(?:{'|'.join(OURS)}) +(?=[\w\"$-])"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))

# Global options of the AWS command line, and the number of their values.
GLOBAL = {
    **dict.fromkeys(("--debug", "--no-verify-ssl", "--no-paginate", "--no-sign-request", "--no-cli-pager"), 0),
    **dict.fromkeys(("--output", "--query", "--profile", "--region", "--endpoint-url", "--color", "--ca-bundle"), 1),
    **dict.fromkeys(("--cli-binary-format", "--cli-read-timeout", "--cli-connect-timeout"), 1),
}
PAGINATION = {"--max-items": 1, "--page-size": 1, "--starting-token": 1}
RENAMED = {("Subscribe", "Endpoint"): "--notification-endpoint"}  # because a global option has the name already
OUTPUTS = {"json", "text", "table", "yaml", "yaml-stream", "off"}
CUSTOM = {("logs", "tail"): {"--since": 1, "--filter-pattern": 1, "--format": 1, "--follow": 0}}
"""Commands of the AWS command line without a model: options, the number of their values, and one argument."""
SERVICES = {"s3api": "s3", "configservice": "config", "deploy": "codedeploy"}  # botocore has another name for these


def recorded(commands: str, folder: Path) -> list[list[str]]:
    """Return the command lines of a block that are this project's, SAM's or AWS's, as a shell would run them.

    Parameters
    ----------
    folder
        An empty folder.

    Raises
    ------
    AssertionError
        If bash cannot read the block, it names an unknown program, or it does not reach every command.
    """
    commands = commands.replace(".venv/bin/", "")
    functions = [f'{name}() {{ printf "%s\\0" "$(($# + 1))" {name} "$@" >&9; }}' for name in OURS]
    functions += [f"{name}() {{ :; }}" for name in FOREIGN]
    record = folder / "record"
    finished = subprocess.run(
        [str(shutil.which("bash")), "-c", "\n".join([*functions, f"exec 9>{record}", commands])],
        cwd=folder,
        env={"PATH": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert finished.stderr == ""
    words = iter(record.read_text().split("\0")[:-1])
    found = [[next(words) for _ in range(int(count))] for count in words]
    named = re.findall(NAMED, re.sub(r"^\s*#.*$", "", commands, flags=re.M))
    assert len(found) >= len(named), f"the block does not reach all of these commands: {found}"
    return found


def problems(words: list[str]) -> list[str]:
    """Return the errors in a command line."""
    check = {"aws": _aws, "sam": _sam, "giftcards": _giftcards, "make": _make}[words[0]]
    try:
        return list(check(words[1:]))
    except (LookupError, ValueError, click.ClickException, TyperException) as error:
        return [getattr(error, "message", None) or str(error)]


def _make(words: list[str]) -> Iterator[str]:
    yield from (f"no target {word}" for word in words if "=" not in word and word not in TARGETS)


def _giftcards(words: list[str]) -> Iterator[str]:
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands") and rest != ["--help"]:
        if not rest or rest[0] not in command.commands:
            yield f"no command {rest[:1]}"
            return
        command = command.commands[rest.pop(0)]
    if rest != ["--help"]:  # Typer turns it into an exit
        command.make_context(words[-1], rest)


def _sam(words: list[str]) -> Iterator[str]:
    context = click.Context(sam, obj=True, resilient_parsing=True)  # SAM loads its commands only if there is an obj
    command = sam.get_command(context, words[0])
    if command is None:
        yield f"no command {words[0]}"
        return
    rest = words[1:]
    while isinstance(command, click.Group):
        command = command.get_command(context, rest.pop(0))
    given, others, _ = command.make_parser(click.Context(command)).parse_args(rest)
    yield from (f"unknown argument {other}" for other in others)
    for parameter in command.params:
        value = given.get(parameter.name)
        if isinstance(parameter.type, click.Choice) and value is not None:
            parameter.type.convert(value, parameter, None)
    if "config_env" in given:
        samconfig = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
        if f"[{given['config_env']}." not in samconfig:
            yield f"samconfig.toml has no environment {given['config_env']}"


@cache
def _botocore() -> Any:
    return botocore.session.get_session()


def _aws(words: list[str]) -> Iterator[str]:
    service = SERVICES.get(words[0], words[0])
    if service not in _botocore().get_available_services():
        yield f"no service {words[0]}"
        return
    rest = words[1:]
    if tuple(words[:2]) in CUSTOM:
        yield from _custom(CUSTOM[words[0], words[1]], words[2:])
        return
    if rest[0] == "wait":
        waiters = _botocore().get_waiter_model(service)
        by_name = {xform_name(name, "-"): waiters.get_waiter(name).operation for name in waiters.waiter_names}
        rest = rest[1:]
    else:
        by_name = {xform_name(name, "-"): name for name in _botocore().get_service_model(service).operation_names}
    if rest[0] not in by_name:
        yield f"{words[0]} has no command {rest[0]}"
        return
    operation = _botocore().get_service_model(service).operation_model(by_name[rest[0]])
    yield from _options(operation, rest[1:])


def _custom(options: dict[str, int], words: list[str]) -> Iterator[str]:
    rest, others = list(words), list[str]()
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            others.append(word)
        elif word not in options:
            yield f"no option {word}"
        else:
            del rest[: options[word]]
    if len(others) != 1:
        yield f"it takes one argument, not {others}"


def _options(operation: OperationModel, words: list[str]) -> Iterator[str]:
    shape = operation.input_shape

    def option_of(member: str) -> str:
        return RENAMED.get((operation.name, member), f"--{xform_name(member, '-')}")

    members = {} if shape is None else {option_of(name): name for name in shape.members}
    given, others = _split(members, shape, words)
    for option, values in given.items():
        if option in members:
            yield from _values(option, values, shape.members[members[option]])
        elif option in {**GLOBAL, **PAGINATION}:
            yield from _global(option, values)
        elif not option.startswith("--no-") or option.replace("--no-", "--", 1) not in members:
            yield f"{operation.name} has no option {option}"
    required = {option_of(name) for name in (shape.required_members if shape else [])}
    yield from (f"{operation.name} needs {option}" for option in sorted(required - set(given)))
    if len(others) != operation.has_streaming_output:  # then one file for it, and nothing else
        yield f"{operation.name} does not take {others}"


def _split(members: dict[str, str], shape: Shape | None, words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return each option with its values: none, one, or all up to the next option."""
    given, others, rest = dict[str, list[str]](), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            others.append(word)
            continue
        if word in members and shape is not None:
            kind = shape.members[members[word]].type_name
            takes = {"boolean": 0, "list": len(rest), "map": len(rest), "structure": len(rest)}.get(kind, 1)
        else:
            takes = {**GLOBAL, **PAGINATION}.get(word, 0)
        given[word] = []
        while rest and takes > len(given[word]) and not rest[0].startswith("--"):
            given[word].append(rest.pop(0))
    return given, others


def _global(option: str, values: list[str]) -> Iterator[str]:
    if len(values) != {**GLOBAL, **PAGINATION}[option]:
        yield f"{option} takes one value"
    elif option == "--query":
        jmespath.compile(values[0])
    elif option == "--output" and values[0] not in OUTPUTS:
        yield f"--output {values[0]} is not one of {sorted(OUTPUTS)}"


def _values(option: str, values: list[str], shape: Shape) -> Iterator[str]:
    if shape.type_name == "boolean":
        return
    if not values:
        yield f"{option} needs a value"
        return
    first = values[0]
    if first.startswith(("file://", "fileb://")) or first == "":  # variables are empty here
        return
    if shape.type_name in {"list", "map", "structure"}:
        yield from _document(option, values, shape)
    elif shape.type_name in {"integer", "long"} and not re.fullmatch(r"-?\d+", first):
        yield f"{option} {first} is not a number"
    elif getattr(shape, "enum", None) and first not in shape.enum:
        yield f"{option} {first} is not one of {shape.enum}"


def _document(option: str, values: list[str], shape: Shape) -> Iterator[str]:
    """Check JSON against the model; in the shorthand form, check only the names of the fields."""
    if values[0][0] in "[{":
        report = ParamValidator().validate(json.loads(values[0]), shape)
        if report.has_errors():
            yield f"{option}: {report.generate_report()}"
        return
    inner = shape.member if shape.type_name == "list" else shape
    members = getattr(inner, "members", None)
    if members is None:
        return
    for name in re.findall(r"(?:^|,)(\w+)=", " ".join(values)):
        if name not in members:
            yield f"{option} has no field {name}"
