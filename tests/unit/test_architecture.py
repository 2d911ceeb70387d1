"""Rules are pure, only adapters do I/O, and functions hold no rule."""

import ast
import socket
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pytest_socket import SocketBlockedError

from support.examples import ROOT

CORE = ROOT / "layers/core"
RULES = sorted((CORE / "giftcards/rules").glob("*.py"))
CONTRACTS = sorted((CORE / "giftcards/contracts").glob("*.py"))
FUNCTIONS = sorted((ROOT / "functions").glob("*/app.py"))
OUTSIDE = {"boto3", "botocore", "httpx", "aws_encryption_sdk", "cryptography", "aws_lambda_powertools"}
TAKES_TIME_OR_CHANCE = {"now", "utcnow", "today", "time", "monotonic", "random", "randint", "uuid1", "uuid4", "getenv"}


MAY_IMPORT = {
    "contracts": {"contracts", "rules"},
    "rules": {"rules", "contracts"},
    "metrics": {"contracts", "rules"},
    "settings": {"rules"},
    "adapters": {"adapters", "rules", "contracts"},
    "logs": set(),
    "presentation": {"presentation", "contracts", "rules"},
    "use_cases": {"use_cases", "adapters", "presentation", "rules", "contracts", "metrics"},
    "outside": {"adapters"},
    "composition_root": {"outside", "use_cases", "adapters", "rules", "contracts", "metrics", "settings", "logs"},
    "buyer_root": {"outside", "composition_root", "use_cases", "adapters", "rules", "contracts", "metrics", "settings"},
}
"""Parts of the core, and the parts that each may import."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the modules that a file imports anywhere, also for types only."""

    def found() -> Iterator[str]:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{named(path)} imports by a relative path"
                module = node.module or ""
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)

    return frozenset(found())


def tops(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


def own(path: Path) -> set[Path]:
    """Return the files of the core that a file imports."""
    candidates = {
        CORE / f"{module.replace('.', '/')}.py" for module in imports(path) if module.startswith("giftcards.")
    }
    return {candidate for candidate in candidates if candidate.is_file()}


def reached(path: Path) -> set[Path]:
    """Return the file and all files of the core that it imports, directly or not."""
    seen: set[Path] = set()
    waiting = {path}
    while waiting:
        seen |= waiting
        waiting = {imported for file in waiting for imported in own(file)} - seen
    return seen


@pytest.mark.parametrize("path", sorted((CORE / "giftcards").rglob("*.py")), ids=named)
def test_parts_of_the_core_import_only_the_parts_below(path: Path):
    def part(file: Path) -> str:
        return file.relative_to(CORE / "giftcards").parts[0].removesuffix(".py")

    if path != CORE / "giftcards/__init__.py":
        assert {part(imported) for imported in own(path)} <= MAY_IMPORT[part(path)]


@pytest.mark.parametrize("path", sorted((CORE / "giftcards").rglob("*.py")), ids=named)
def test_imports_have_no_cycle(path: Path):
    assert not any(path in reached(imported) for imported in own(path))


def test_unit_tests_reach_no_network():
    with pytest.warns(UserWarning, match="socket"), pytest.raises(SocketBlockedError):
        socket.create_connection(("127.0.0.1", 9))


def test_there_are_modules_to_check():
    assert len(RULES) >= 5
    assert len(CONTRACTS) >= 4
    assert len(FUNCTIONS) == 14


@pytest.mark.parametrize("path", RULES + CONTRACTS, ids=named)
def test_rules_and_contracts_import_no_io_library(path: Path):
    for module in reached(path):
        assert not tops(module) & OUTSIDE, f"{named(path)} reaches {named(module)}"
        assert not any(name.startswith("giftcards.adapters") for name in imports(module)), named(module)


@pytest.mark.parametrize("path", RULES + CONTRACTS, ids=named)
def test_rules_and_contracts_use_no_clock_and_no_randomness(path: Path):
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
    }

    assert not called & TAKES_TIME_OR_CHANCE
    assert not tops(path) & {"os", "time", "random", "secrets", "socket", "logging"}


@pytest.mark.parametrize(
    "path", [path for path in sorted((CORE / "giftcards").rglob("*.py")) if "adapters" not in path.parts], ids=named
)
def test_only_adapters_import_io_libraries(path: Path):
    logger = {"aws_lambda_powertools"} if path.name in {"composition_root.py", "logs.py"} else set()

    assert tops(path) & OUTSIDE <= logger


@pytest.mark.parametrize("path", FUNCTIONS, ids=named)
def test_functions_import_only_core_parser_and_logger(path: Path):
    foreign = tops(path) - set(sys.stdlib_module_names)

    assert foreign <= {"giftcards", "aws_lambda_powertools", "pydantic"}
    assert not any(name.startswith(("giftcards.adapters", "giftcards.rules")) for name in imports(path))


@pytest.mark.parametrize("path", sorted((CORE / "giftcards").rglob("*.py")), ids=named)
def test_core_does_not_import_cli_local_cloud_or_tests(path: Path):
    assert not tops(path) & {"giftcards_cli", "giftcards_local", "unit", "workflow", "moto"}


@pytest.mark.parametrize("path", [*sorted((CORE / "giftcards").rglob("*.py")), *FUNCTIONS], ids=named)
def test_nothing_logs_an_exception(path: Path):
    calls = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "exception"
    ]
    printed = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]

    assert calls + printed == []


OPENED_SECRETS = {
    "adapters/card_cipher.py": {"card.value.get_secret_value", "card.serial.get_secret_value"},
    "adapters/oneclickdz/supplier.py": {"api_key.get_secret_value"},
    "adapters/mailer.py": {"address.get_secret_value"},
    "adapters/event_bus.py": {"recipient.email.get_secret_value"},  # only StoreRecipient gets the event
    "adapters/shop_keys.py": {"presented.get_secret_value"},
    "adapters/recipient_cipher.py": {"address.get_secret_value"},
    "use_cases/create_link.py": {"request.code.get_secret_value"},
    "use_cases/mail_link.py": {"address.get_secret_value"},  # the mail names its recipient
    "use_cases/reveal_cards.py": {"card.value.get_secret_value", "card.serial.get_secret_value"},  # what a user may see
    "use_cases/redeem_link.py": {
        "request.token.get_secret_value",
        "request.code.get_secret_value",
        "request.view.get_secret_value",
    },
}
"""The files that open a secret, and which."""


@pytest.mark.parametrize(
    "path", [path for path in sorted((CORE / "giftcards").rglob("*.py")) if path not in CONTRACTS], ids=named
)
def test_secrets_are_opened_only_in_these_places(path: Path):
    opens = [
        ast.unparse(node.func)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get_secret_value"
        and not node.args
        and not node.keywords
    ]

    assert OPENED_SECRETS.get(path.relative_to(CORE / "giftcards").as_posix(), set()) == set(opens)
