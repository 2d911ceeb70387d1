"""Whatever happens to an order's links, in any order: each shows the cards as often as it may, never more often.

Hypothesis chooses the steps; a small model says what each link must answer. The adapters are real, on moto's cloud.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from giftcards.rules.links import MAX_CODE_TRIES, LinkState
from giftcards.use_cases.create_link import LinkOutcome
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.links import CODE, Buyer, new_buyer
from support.secrets import MARK

WRONG_CODE = "0000"
FAILING = ("VerifyMac", "UpdateItem", "TransactGetItems", "Decrypt", "PutItem", "PutEvents")
"""Operations of a view, in which it can fail or be killed."""


class KilledError(BaseException):
    """The process ends: nothing that it would have done afterwards happens."""


def die() -> None:
    raise KilledError


@dataclass
class ModelLink:
    """What a link has to be like."""

    token: str
    channel: str
    max_uses: int
    days: int
    code: str | None
    expires_at: datetime
    uses: int = 0
    tries: int = 0
    is_replaced: bool = False

    def state(self, now: datetime, cards_expire_at: datetime | None) -> LinkState:
        if self.is_replaced:
            return LinkState.REPLACED
        if cards_expire_at is not None and cards_expire_at <= now:
            return LinkState.CARDS_EXPIRED
        if self.expires_at <= now:
            return LinkState.EXPIRED
        if self.uses >= self.max_uses:
            return LinkState.USED_UP
        return LinkState.CODE_LOCKED if self.tries >= MAX_CODE_TRIES else LinkState.READY


@dataclass
class Model:
    """The links of one order, and the time."""

    cards_expire_at: datetime | None
    now: datetime = NOW
    links: list[ModelLink] = field(default_factory=list)

    def state(self, link: ModelLink) -> LinkState:
        return link.state(self.now, self.cards_expire_at)

    def open_link(self, channel: str) -> ModelLink | None:
        return next((link for link in self.links if link.channel == channel and not link.is_replaced), None)


class Links(RuleBasedStateMachine):
    """What the shop, the buyer, time and failures do."""

    buyer: Buyer

    @initialize(cards_end_after=st.sampled_from([None, timedelta(days=2)]))
    def deliver(self, cards_end_after: timedelta | None) -> None:
        cloud = self.buyer.cloud
        for table in ("LinkTable", cloud.card_table, cloud.audit_table):
            for row in cloud.rows(table):
                cloud.delete(table, row)
        cloud.forget()
        end = None if cards_end_after is None else NOW + cards_end_after
        self.model = Model(end)
        expiry = {} if end is None else {"cardsExpireAt": end.isoformat().replace("+00:00", "Z")}
        self.buyer.deliver(1, **expiry)

    @rule(
        channel=st.sampled_from(["shop", "chat"]),
        uses=st.integers(1, 3),
        days=st.integers(1, 3),
        code=st.sampled_from([None, CODE]),
        replace=st.sampled_from([False, False, False, True]),
    )
    def create(self, channel: str, uses: int, days: int, code: str | None, *, replace: bool) -> None:
        model = self.model
        existing = None if replace else model.open_link(channel)
        options = {"channel": channel, "uses": uses, "days": days, "replace": replace}
        answer = self.buyer.create(model.now, **options | ({"code": code} if code else {}))
        if model.cards_expire_at is not None and model.cards_expire_at <= model.now:
            assert answer.outcome is LinkOutcome.CARDS_EXPIRED
            return
        if existing is None:
            assert answer.outcome is LinkOutcome.CREATED
            assert answer.created is not None
            token = answer.created.url.rpartition("/")[2]
            assert token not in {link.token for link in model.links}
            if replace:
                self.close_all()
            ends = [model.now + timedelta(days=days)] + [end for end in [model.cards_expire_at] if end]
            model.links.append(ModelLink(token, channel, uses, days, code, min(ends)))
        elif model.state(existing) is not LinkState.READY:
            assert answer.outcome is LinkOutcome.ENDED
        else:
            assert answer.outcome in {LinkOutcome.EXISTS, LinkOutcome.OTHER_OPTIONS}
            same = existing.max_uses == uses and (code is None or existing.code == code)
            if not same:
                assert answer.outcome is LinkOutcome.OTHER_OPTIONS

    @rule(really=st.sampled_from([False, False, True]))
    def revoke(self, *, really: bool) -> None:
        if not really:  # rarely enough for something to happen in between
            return
        links = self.buyer.links
        assert links.replace(links.get_links(ORDER_ID, USER_ID), None, at=self.model.now)
        self.close_all()

    @rule(hours=st.sampled_from([1, 2, 3, 23, 49]))
    def wait(self, hours: int) -> None:
        self.model.now += timedelta(hours=hours)

    @precondition(lambda self: self.model.links)
    @rule(
        age=st.sampled_from([0, 0, 0, 1, 2]), typed=st.sampled_from([CODE, WRONG_CODE, None]), repeats=st.integers(1, 2)
    )
    def redeem(self, age: int, typed: str | None, repeats: int) -> None:
        link = self.chosen(age)
        for _ in range(repeats):
            expected = self.use(link, typed)
            redeemed = self.buyer.redeem(link.token, self.model.now, code=typed)
            assert (redeemed.state, len(redeemed.cards)) == (expected, 1 if expected is LinkState.SHOWN else 0)

    @precondition(lambda self: self.model.links)
    @rule(
        age=st.sampled_from([0, 0, 0, 1, 2]),
        operation=st.sampled_from(FAILING),
        is_killed=st.booleans(),
        carried_out=st.booleans(),
    )
    def fail(self, age: int, operation: str, *, is_killed: bool, carried_out: bool) -> None:
        link = self.chosen(age)
        uses, tries = link.uses, link.tries
        before = self.model.state(link)
        fault = die if is_killed else client_error(operation)
        self.buyer.cloud.at_next(operation, fault, carried_out=carried_out)
        try:
            state = self.buyer.redeem(link.token, self.model.now, code=link.code).state
        except (KilledError, Exception):  # noqa: BLE001 - ServePage answers LATER
            state = LinkState.LATER
        self.buyer.cloud.at_next(operation, {}, times=0)
        row = self.buyer.link_row(link.token)
        link.uses, link.tries = int(row["uses"]), int(row.get("codeTries", 0))
        assert state in {LinkState.SHOWN, LinkState.LATER, before}
        if before is not LinkState.READY:
            assert (link.uses, link.tries) == (uses, tries)
        elif state is LinkState.SHOWN:
            assert link.uses == uses + 1
        elif is_killed or operation == "UpdateItem":  # nobody could return the use, or that failed
            assert link.uses in {uses, uses + 1}
        else:
            assert link.uses == uses
        assert link.tries in {0, tries, tries + 1}

    @invariant()
    def every_link_answers_what_it_must(self) -> None:
        for link in self.model.links if hasattr(self, "model") else []:
            page = self.buyer.visit("GET", link.token, self.model.now)
            assert page.state == self.model.state(link)
            assert MARK not in page.body

    def chosen(self, age: int) -> ModelLink:
        """Choose a link, 0 for the newest."""
        return self.model.links[-1 - age % len(self.model.links)]

    def close_all(self) -> None:
        for link in self.model.links:
            link.is_replaced = True

    def use(self, link: ModelLink, typed: str | None) -> LinkState:
        """Use the model's link, and say what the real one has to answer."""
        state = self.model.state(link)
        if state is not LinkState.READY:
            return state
        if link.code is not None and typed != link.code:
            link.tries += 1 if typed else 0
            return LinkState.CODE_LOCKED if link.tries >= MAX_CODE_TRIES else LinkState.WRONG_CODE
        link.uses, link.tries = link.uses + 1, 0
        return LinkState.SHOWN


def test_links_show_the_cards_as_often_as_they_may(cloud: Cloud) -> None:
    buyer = new_buyer(cloud)

    class LinksOfThisCloud(Links):
        pass

    LinksOfThisCloud.buyer = buyer
    checks = settings(max_examples=25, stateful_step_count=20, suppress_health_check=list(HealthCheck), deadline=None)
    run_state_machine_as_test(LinksOfThisCloud, settings=checks)
