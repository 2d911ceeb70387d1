"""DynamoDB's expressions, compiled once each: conditions, updates, projections.

Grammar: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html. Paths are names of
top-level attributes, which is all that this project uses; anything else is refused instead of guessed.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

Row = Mapping[str, Any]
Names = Mapping[str, str]
Values = Mapping[str, Any]
Operand = Callable[[Row, Names, Values], Any]

_TOKEN = re.compile(r"\s*(?:(<=|>=|<>|[=<>(),+-])|([:#]?[A-Za-z_][A-Za-z0-9_]*))")
_COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_KINDS = {bool: "BOOL", str: "S", bytes: "B", int: "N", Decimal: "N", type(None): "NULL", frozenset: "SET", tuple: "L"}
ABSENT: Any = object()
"""What an operand gives for an attribute that the row does not have."""


class Missing(Exception):  # noqa: N818 - a validation error of DynamoDB, named by its cause
    """An update needs an attribute that is not there."""


@dataclass(frozen=True)
class Condition:
    """A compiled condition.

    Attributes
    ----------
    used
        The placeholders in it, ``#name`` and ``:value``.
    """

    holds: Callable[[Row, Names, Values], bool]
    used: frozenset[str]

    def __call__(self, row: Row, names: Names, values: Values) -> bool:
        return self.holds(row, names, values)


@dataclass(frozen=True)
class Update:
    """A compiled update, which changes the row that it is called with."""

    steps: tuple[Callable[[Row, dict[str, Any], Names, Values], None], ...]
    used: frozenset[str]

    def __call__(self, row: dict[str, Any], names: Names, values: Values) -> None:
        before = dict(row)  # every operand is read before anything is written
        for step in self.steps:
            step(before, row, names, values)


@cache
def compile_condition(expression: str) -> Condition:
    """Compile a ConditionExpression, KeyConditionExpression or FilterExpression."""
    parser = _Parser(expression)
    holds = parser.disjunction()
    parser.end()
    return Condition(holds, parser.used)


@cache
def compile_update(expression: str) -> Update:
    """Compile an UpdateExpression."""
    parser = _Parser(expression)
    steps = tuple(parser.clauses())
    return Update(steps, parser.used)


@cache
def compile_projection(expression: str) -> tuple[str, ...]:
    """Return the names of a ProjectionExpression, placeholders as they are."""
    return tuple(part.strip() for part in expression.split(","))


def conjuncts(expression: str) -> list[str]:
    """Split a condition at each AND outside parentheses (not the AND of BETWEEN, which this project does not use)."""
    parts, depth = [""], 0
    for token in re.split(r"(\(|\)|\bAND\b)", expression):
        depth += (token == "(") - (token == ")")
        if token == "AND" and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = _tokens(expression)
        self._at = 0

    @property
    def used(self) -> frozenset[str]:
        return frozenset(token for token in self._tokens if token[0] in "#:")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _is_next(self, *words: str) -> bool:
        if self._peek().upper() in words:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._is_next(token):
            raise ValueError(f"{token!r} expected at {self._peek()!r} in {self._expression!r}")

    def end(self) -> None:
        if self._peek():
            raise ValueError(f"nothing expected at {self._peek()!r} in {self._expression!r}")

    # conditions

    def disjunction(self) -> Callable[..., bool]:
        parts = [self._conjunction()]
        while self._is_next("OR"):
            parts.append(self._conjunction())
        if len(parts) == 1:
            return parts[0]
        return lambda *given: any(part(*given) for part in parts)

    def _conjunction(self) -> Callable[..., bool]:
        parts = [self._negation()]
        while self._is_next("AND"):
            parts.append(self._negation())
        if len(parts) == 1:
            return parts[0]
        return lambda *given: all(part(*given) for part in parts)

    def _negation(self) -> Callable[..., bool]:
        if self._is_next("NOT"):
            negated = self._negation()
            return lambda *given: not negated(*given)
        if self._is_next("("):
            inner = self.disjunction()
            self._expect(")")
            return inner
        function = self._peek().lower()
        if function in _TESTS:
            self._next()
            return self._test(function)
        return self._comparison()

    def _test(self, function: str) -> Callable[..., bool]:
        self._expect("(")
        operands = [self._operand()]
        while self._is_next(","):
            operands.append(self._operand())
        self._expect(")")
        test = _TESTS[function]
        return lambda *given: test(*(operand(*given) for operand in operands))

    def _comparison(self) -> Callable[..., bool]:
        left = self._operand()
        if self._is_next("BETWEEN"):
            low = self._operand()
            self._expect("AND")
            high = self._operand()
            return lambda *given: (
                _compare(operator.ge, left(*given), low(*given)) and _compare(operator.le, left(*given), high(*given))
            )
        if self._is_next("IN"):
            self._expect("(")
            choices = [self._operand()]
            while self._is_next(","):
                choices.append(self._operand())
            self._expect(")")
            return lambda *given: any(_compare(operator.eq, left(*given), choice(*given)) for choice in choices)
        sign = self._next()
        right = self._operand()
        if sign == "<>":
            return lambda *given: not _compare(operator.eq, left(*given), right(*given))
        comparison = _COMPARISONS[sign]
        return lambda *given: _compare(comparison, left(*given), right(*given))

    def _operand(self) -> Operand:
        token = self._next()
        if token.startswith(":"):
            return lambda _row, _names, values: values[token]
        if token.lower() == "size" and self._is_next("("):
            inner = self._operand()
            self._expect(")")
            return lambda *given: ABSENT if inner(*given) is ABSENT else len(inner(*given))
        return self._attribute(token)

    def _attribute(self, token: str) -> Operand:
        if token.startswith("#"):
            return lambda row, names, _values: row.get(names[token], ABSENT)
        if not token.isidentifier():
            raise ValueError(f"operand expected at {token!r} in {self._expression!r}")
        return lambda row, _names, _values: row.get(token, ABSENT)

    # updates

    def clauses(self) -> list[Callable[..., None]]:
        steps: list[Callable[..., None]] = []
        clauses = {"SET": self._assignment, "REMOVE": self._removal, "ADD": self._addition, "DELETE": self._deletion}
        while self._peek():
            clause = clauses.pop(self._next().upper())  # each at most once
            steps.append(clause())
            while self._is_next(","):
                steps.append(clause())
        return steps

    def _name(self) -> Callable[[Names], str]:
        token = self._next()
        if token.startswith("#"):
            return lambda names: names[token]
        if not token.isidentifier():
            raise ValueError(f"attribute expected at {token!r} in {self._expression!r}")
        return lambda _names: token

    def _assignment(self) -> Callable[..., None]:
        name = self._name()
        self._expect("=")
        value = self._sum()

        def step(before: Row, row: dict[str, Any], names: Names, values: Values) -> None:
            new = value(before, names, values)
            if new is ABSENT:
                raise Missing("an operand of the update has no value")
            row[name(names)] = new

        return step

    def _sum(self) -> Operand:
        left = self._value()
        if self._peek() not in {"+", "-"}:
            return left
        sign = operator.add if self._next() == "+" else operator.sub
        right = self._value()

        def total(*given: Any) -> Any:
            operands = left(*given), right(*given)
            return ABSENT if ABSENT in operands else sign(*operands)

        return total

    def _value(self) -> Operand:
        if not self._is_next("IF_NOT_EXISTS"):
            return self._operand()
        self._expect("(")
        value = self._operand()
        self._expect(",")
        default = self._sum()
        self._expect(")")

        def first(*given: Any) -> Any:
            found = value(*given)
            return default(*given) if found is ABSENT else found

        return first

    def _removal(self) -> Callable[..., None]:
        name = self._name()

        def step(_before: Row, row: dict[str, Any], names: Names, _values: Values) -> None:
            row.pop(name(names), None)

        return step

    def _addition(self) -> Callable[..., None]:
        name, value = self._name(), self._operand()

        def step(before: Row, row: dict[str, Any], names: Names, values: Values) -> None:
            old, added = before.get(name(names), ABSENT), value(before, names, values)
            if old is ABSENT:
                row[name(names)] = added
            elif _kind(old) != _kind(added) or _kind(old) not in {"N", "SET"}:
                raise Missing("ADD needs two numbers or two sets")
            else:
                row[name(names)] = old | added if isinstance(old, frozenset) else old + added

        return step

    def _deletion(self) -> Callable[..., None]:
        name, value = self._name(), self._operand()

        def step(before: Row, row: dict[str, Any], names: Names, values: Values) -> None:
            old, removed = before.get(name(names), ABSENT), value(before, names, values)
            if old is not ABSENT:
                left = old - removed
                if left:
                    row[name(names)] = left
                else:  # DynamoDB has no empty sets
                    row.pop(name(names))

        return step


def _tokens(expression: str) -> list[str]:
    tokens, at = [], 0
    expression = expression.rstrip()
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None:
            raise ValueError(f"cannot read {expression[at:]!r} in {expression!r}")
        tokens.append(found[1] or found[2])
        at = found.end()
    return tokens


def _kind(value: Any) -> str | None:
    return _KINDS.get(type(value))


def _compare(comparison: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """Compare as DynamoDB does: what is absent or of another type is neither equal nor less nor more."""
    if left is ABSENT or right is ABSENT or _kind(left) != _kind(right):
        return False
    return bool(comparison(left, right))


def _contains(held: Any, part: Any) -> bool:
    return held is not ABSENT and isinstance(held, str | frozenset | tuple) and part in held


_TESTS: Mapping[str, Callable[..., bool]] = {
    "attribute_exists": lambda value: value is not ABSENT,
    "attribute_not_exists": lambda value: value is ABSENT,
    "begins_with": lambda value, start: isinstance(value, str | bytes) and value.startswith(start),
    "contains": _contains,
}
