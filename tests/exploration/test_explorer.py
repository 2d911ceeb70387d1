"""The explorer finds what small wrong protocols do wrong, by the fewest steps, and nothing in right ones."""

from collections.abc import Iterable
from typing import Any

import pytest

from exploration.explorer import TABLE, Branch, Call, Explorer, Model, Process, Program, Runner, State, Violation
from exploration.table import MemoryTables

KEY = {"pk": "1", "sk": "1"}
WHERE = {"TableName": "counters", "Key": KEY}


NAMES = {"ExpressionAttributeNames": {"#c": "count"}, "ExpressionAttributeValues": {":one": 1}}


def reads_and_writes(runner: Runner, _carried: Any) -> None:
    count = runner.table.get_item(**WHERE).get("Item", {}).get("count", 0)
    runner.table.put_item(TableName="counters", Item=KEY | {"count": count + 1})


def adds(runner: Runner, _carried: Any) -> None:
    runner.table.update_item(**WHERE, UpdateExpression="ADD #c :one", **NAMES)


def adds_once(runner: Runner, _carried: Any) -> None:
    token = runner.token()
    values = NAMES["ExpressionAttributeValues"] | {":token": {token}, ":me": token}
    try:
        runner.table.update_item(
            **WHERE,
            UpdateExpression="ADD #c :one, seen :token",
            ConditionExpression="NOT contains(seen, :me)",
            ExpressionAttributeNames=NAMES["ExpressionAttributeNames"],
            ExpressionAttributeValues=values,
        )
    except runner.table.exceptions.ConditionalCheckFailedException:
        return


class Counting(Model):
    """Two processes count; the end must be what they have done."""

    def __init__(self, program: Program, *, count: int = 2, expected: int = 2) -> None:
        super().__init__([Process(str(number), program) for number in range(count)])
        self.expected = expected
        self.ends: list[int] = []

    def check_end(self, state: State) -> None:
        (row,) = state.rows.values()
        self.ends.append(row["count"])
        assert row["count"] == self.expected, "the count is wrong"


def test_lost_update_is_found_by_the_shortest_way() -> None:
    with pytest.raises(Violation, match="the count is wrong") as found:
        Explorer(Counting(reads_and_writes)).run()

    steps = [line.strip() for line in str(found.value).splitlines() if line.startswith("  ") and ". " in line[:6]]
    assert len(steps) == 4
    assert [step.split()[-1] for step in steps[:2]] == ["get_item", "get_item"]


def test_atomic_counting_is_right_in_every_state() -> None:
    explored = Explorer(Counting(adds, count=3, expected=3)).run()

    assert (explored.states, explored.ends) == (8, 1)  # which of the three have counted; their order does not matter


def test_write_that_is_sent_again_after_a_lost_answer_counts_twice() -> None:
    with pytest.raises(Violation, match="the count is wrong"):
        Explorer(Counting(adds), repeats=1).run()


def test_idempotent_write_may_be_sent_again_and_arrive_late() -> None:
    model = Counting(adds_once, count=1, expected=1)

    explored = Explorer(model, repeats=2).run()

    assert explored.ends > 1
    assert set(model.ends) == {1}


def test_process_that_dies_does_nothing_more() -> None:
    class Dying(Counting):
        def check_end(self, state: State) -> None:
            counts.add(sum(row["count"] for row in state.rows.values()))

    counts: set[int] = set()
    Explorer(Dying(adds, count=3), deaths=2).run()
    assert counts == {1, 2, 3}


def test_failure_is_raised_in_the_process_and_has_no_effect() -> None:
    def retries(runner: Runner, _carried: Any) -> str:
        try:
            adds(runner, None)
        except Exception as error:  # noqa: BLE001
            adds(runner, None)
            return type(error).__name__
        return "first"

    class Ended(Counting):
        def check_end(self, state: State) -> None:
            super().check_end(state)
            results.update(step.result for step in state.steps if step)

    results: set[str] = set()
    Explorer(Ended(retries), failures=1).run()
    assert results == {"first", "ClientError"}


def test_runs_follow_each_other_and_carry_what_they_return() -> None:
    def counts(runner: Runner, carried: int) -> int:
        adds(runner, None)
        return carried + 1

    class Ended(Counting):
        def check_end(self, state: State) -> None:
            super().check_end(state)
            assert [step.result for step in state.steps if step] == [5]

    model = Ended(counts, count=1, expected=3)
    model.processes = [Process("one", counts, runs=3, carried=2)]
    assert Explorer(model).run().ends == 1


class Served(Model):
    """A service that answers in two ways, once its gate has been opened by an event."""

    def __init__(self) -> None:
        super().__init__([Process("one", self._asks)], world="shut")
        self.results: set[Any] = set()

    @staticmethod
    def _asks(runner: Runner, _carried: Any) -> Any:
        before = runner.now()
        answer = runner.perform("oracle", "ask", {})
        return answer, (runner.now() - before).total_seconds()

    def serve(self, state: State, process: Process, call: Call) -> Iterable[Branch]:
        assert (process.name, call.operation) == ("one", "ask")
        if state.world == "open":
            yield "says yes", "open", True
            yield "says no", "open", False

    def events(self, state: State) -> Iterable[tuple[str, State]]:
        if state.world == "shut":
            yield "opens", state._replace(world="open", now=state.now + 60)

    def check_end(self, state: State) -> None:
        self.results.update(step.result for step in state.steps if step)


def test_service_answers_in_every_way_it_can_and_time_passes_by_events() -> None:
    model = Served()

    assert Explorer(model).run().ends == 2
    assert model.results == {(True, 60.0), (False, 60.0)}


def test_repeat_of_a_transaction_is_known_by_its_token() -> None:
    def puts(runner: Runner, _carried: Any) -> bool:
        put = {"TableName": "t", "Item": KEY | {"count": 1}, "ConditionExpression": "attribute_not_exists(pk)"}
        runner.table.transact_write_items(TransactItems=[{"Put": put}])
        return True

    class Transacting(Model):
        def check_end(self, state: State) -> None:
            assert [step.result for step in state.steps if step] == [True]

    Explorer(Transacting([Process("one", puts)]), repeats=1).run()


def test_condition_can_be_taken_away() -> None:
    tables = MemoryTables()
    tables.execute("put_item", {"TableName": "t", "Item": KEY})
    again = {"TableName": "t", "Item": KEY, "ConditionExpression": "attribute_not_exists(pk)"}
    with pytest.raises(tables.exceptions.ConditionalCheckFailedException):
        tables.execute("put_item", again)

    tables.rewrite = lambda _: None

    tables.execute("put_item", again)


def test_a_call_names_what_it_writes_and_on_which_condition() -> None:
    call = Call(TABLE, "update_item", {"UpdateExpression": "REMOVE a", "ConditionExpression": "b = :b"})

    assert str(call) == "update_item REMOVE a IF b = :b"
