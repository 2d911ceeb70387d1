"""CreateLink and RedeemLink: who gets a link, and what it shows how often."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from giftcards.contracts.links import LinkOutcome
from giftcards.metrics import Metric
from giftcards.rules.links import LinkState, hash_of
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.links import ADDRESS, CODE, PAGE_URL, Buyer, new_buyer
from support.secrets import MARK


@pytest.fixture
def buyer(cloud: Cloud) -> Buyer:
    return new_buyer(cloud)


# ------------------------------------------------------------------ creation


def test_same_call_gives_the_same_link(buyer: Buyer):
    buyer.deliver()
    first, second = buyer.create(), buyer.create()
    assert (first.outcome, second.outcome) == (LinkOutcome.CREATED, LinkOutcome.EXISTS)
    assert first.created == second.created
    assert first.created is not None
    assert first.created.url.startswith(f"{PAGE_URL}/c/")
    assert (first.created.uses, first.created.expires_at) == (10, NOW + timedelta(days=30))
    assert buyer.measured.total(Metric.LINK_CREATED) == 1


def test_each_channel_has_its_own_link(buyer: Buyer):
    buyer.deliver()
    assert buyer.token() != buyer.token(channel="whatsapp")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"orderId": "other"}, LinkOutcome.NOT_FOUND),
        ({"userId": "mallory"}, LinkOutcome.NOT_FOUND),
    ],
)
def test_unknown_order_and_other_user_get_the_same_answer(buyer: Buyer, changes: dict[str, str], outcome: LinkOutcome):
    buyer.deliver()
    answer = buyer.create(**changes)
    assert (answer.outcome, answer.created) == (outcome, None)
    assert buyer.cloud.rows("LinkTable") == []


def test_order_that_is_not_delivered_gets_no_link(buyer: Buyer):
    buyer.cloud.claim()
    assert buyer.create().outcome is LinkOutcome.NOT_DELIVERED


def test_cards_that_have_expired_get_no_link(buyer: Buyer):
    buyer.deliver(cardsExpireAt="2026-03-14T09:26:53.000Z")
    assert buyer.create().outcome is LinkOutcome.CARDS_EXPIRED


def test_existing_link_keeps_its_options(buyer: Buyer):
    buyer.deliver()
    buyer.create(uses=3, code=CODE)
    assert buyer.create().outcome is LinkOutcome.EXISTS
    assert buyer.create(uses=3, code=CODE).outcome is LinkOutcome.EXISTS
    for changes in ({"uses": 4}, {"code": "9999"}, {"language": "en"}, {"days": 3}, {"label": "x"}):
        assert buyer.create(**changes).outcome is LinkOutcome.OTHER_OPTIONS


def test_replaced_links_show_nothing(buyer: Buyer):
    buyer.deliver()
    old, other = buyer.token(), buyer.token(channel="other")
    new = buyer.token(replace=True)
    assert len({old, other, new}) == 3
    assert [buyer.redeem(token).state for token in (old, other, new)] == ["REPLACED", "REPLACED", "SHOWN"]


def test_revoked_links_show_nothing_and_can_be_followed_by_a_new_one(buyer: Buyer):
    buyer.deliver()
    old = buyer.token()
    assert buyer.links.replace(buyer.links.get_links(ORDER_ID, USER_ID), None, at=NOW)
    assert buyer.redeem(old).state is LinkState.REPLACED
    assert buyer.redeem(buyer.token()).state is LinkState.SHOWN


def test_order_has_at_most_twenty_open_links(buyer: Buyer):
    buyer.deliver()
    for number in range(20):
        buyer.token(channel=f"channel-{number}")
    assert buyer.create(channel="one-more").outcome is LinkOutcome.TOO_MANY_LINKS
    assert buyer.create(channel="one-more", replace=True).outcome is LinkOutcome.CREATED
    for number in range(19):  # closed links do not count
        assert buyer.create(channel=f"channel-{number}").outcome is LinkOutcome.CREATED
    assert buyer.create(channel="channel-19").outcome is LinkOutcome.TOO_MANY_LINKS
    assert len(buyer.links.get_links(ORDER_ID, USER_ID).hashes) == 40


def test_links_created_at_once_are_all_remembered(buyer: Buyer):
    buyer.deliver()
    for operation in ("a", "b"):
        stale = buyer.links.get_links(ORDER_ID, USER_ID)
        buyer.token(channel=operation)
        assert buyer.links.get_links(ORDER_ID, USER_ID) != stale
    assert len(buyer.links.get_links(ORDER_ID, USER_ID).open) == 2


def test_link_can_be_mailed_without_storing_the_address(buyer: Buyer):
    buyer.deliver()
    answer = buyer.create(mail=ADDRESS)
    assert answer.outcome is LinkOutcome.CREATED
    assert buyer.mails()[0]["To"] == ADDRESS
    assert ADDRESS not in repr(buyer.cloud.rows("LinkTable"))
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", "MessageRejected"))
    assert buyer.create(mail=ADDRESS).outcome is LinkOutcome.MAIL_NOT_SENT


# -------------------------------------------------------------------- views


def test_link_shows_its_cards_and_the_shop_is_notified_once(buyer: Buyer):
    buyer.deliver(2)
    token = buyer.token()
    for uses in (1, 2):
        shown = buyer.redeem(token)
        assert shown.state is LinkState.SHOWN
        assert sorted(shown.cards) == [1, 2]
        assert shown.link is not None
        assert shown.link.uses == uses
    ((detail_type, detail),) = buyer.cloud.announced()
    assert (detail_type, detail["count"]) == ("CardsViewed", 2)


def test_every_view_is_audited_before_it_is_answered(buyer: Buyer):
    buyer.deliver()
    token = buyer.token()
    buyer.redeem(token)
    (record,) = buyer.cloud.rows(buyer.cloud.audit_table)
    assert record["requestedBy"] == f"link:{buyer.links.get_links(ORDER_ID, USER_ID).hashes[0][:16]}"
    assert record["outcome"] == "REVEALED"


@pytest.mark.parametrize("operation", ["PutItem", "TransactGetItems", "Decrypt"])
def test_failing_view_gives_its_use_back(buyer: Buyer, operation: str):
    buyer.deliver()
    token = buyer.token()
    buyer.redeem(token, NOW - timedelta(hours=1))
    before = buyer.link_row(token)
    buyer.cloud.at_next(operation, client_error(operation, "KMSInternalException"))
    try:
        state = buyer.redeem(token).state
    except Exception:  # noqa: BLE001 - ServePage answers LATER
        state = LinkState.LATER
    assert state is LinkState.LATER
    after = buyer.link_row(token)
    assert (after["uses"], after["lastUsedAt"]) == (before["uses"], before["lastUsedAt"])


def test_missing_card_gives_the_use_back(buyer: Buyer):
    buyer.deliver(2)
    token = buyer.token()
    buyer.cloud.delete(buyer.cloud.card_table, buyer.cloud.card_rows()[0])
    assert buyer.redeem(token).state is LinkState.LATER
    assert buyer.link_row(token)["uses"] == 0
    assert "lastUsedAt" not in buyer.link_row(token)


@pytest.mark.parametrize(
    "changes", [{"orderId": "other"}, {"userId": "mallory"}, {"channel": "x"}, {"generation": 1}, {"macTail": "0" * 24}]
)
def test_row_that_names_something_else_than_its_link_shows_nothing(buyer: Buyer, changes: dict[str, Any]):
    buyer.deliver()
    token = buyer.token()
    buyer.cloud.put("LinkTable", buyer.link_row(token) | changes)
    shown = buyer.redeem(token)
    assert (shown.state, shown.note, shown.cards) == (LinkState.LATER, "NOT_GENUINE", {})
    assert buyer.link_row(token)["uses"] == 0


def test_row_written_for_an_invented_token_shows_nothing(buyer: Buyer):
    buyer.deliver()
    forged = "a" * 32  # by a principal that can write to the table but has no LinkKey
    buyer.cloud.put("LinkTable", buyer.link_row(buyer.token()) | {"pk": f"LINK#{hash_of(forged)}"})
    assert buyer.redeem(forged).state is LinkState.LATER
    assert buyer.cloud.rows(buyer.cloud.audit_table) == []


def test_unavailable_key_takes_no_use(buyer: Buyer):
    buyer.deliver()
    token = buyer.token()
    buyer.cloud.at_next("VerifyMac", client_error("VerifyMac", "KMSInternalException"))
    with pytest.raises(Exception, match="KMSInternal"):
        buyer.redeem(token)
    assert buyer.link_row(token)["uses"] == 0


def test_fifteen_views_at_once_use_nine_uses_nine_times(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(uses=9)
    with ThreadPoolExecutor(15) as pool:
        states = [redeemed.state for redeemed in pool.map(lambda _: buyer.redeem(token), range(15))]
    assert sorted(states) == ["SHOWN"] * 9 + ["USED_UP"] * 6


def test_twenty_wrong_codes_at_once_compare_five(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(code=CODE)
    with ThreadPoolExecutor(20) as pool:
        states = [redeemed.state for redeemed in pool.map(lambda _: buyer.redeem(token, code="0000"), range(20))]
    assert set(states) <= {"WRONG_CODE", "CODE_LOCKED"}
    assert states.count(LinkState.WRONG_CODE) == 4
    assert buyer.redeem(token, code=CODE).state is LinkState.CODE_LOCKED
    assert buyer.link_row(token)["codeTries"] == 5


def test_right_code_forgets_the_wrong_ones(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(code=CODE)
    for _ in range(4):
        assert buyer.redeem(token, code="0000").state is LinkState.WRONG_CODE
    assert buyer.redeem(token, code="٤٧١١").state is LinkState.SHOWN
    for _ in range(4):
        assert buyer.redeem(token, code="0000").state is LinkState.WRONG_CODE


@pytest.mark.parametrize("code", [None, "", "12", "1" * 300, "abcd"])
def test_what_cannot_be_a_code_costs_no_try(buyer: Buyer, code: Any):
    buyer.deliver()
    token = buyer.token(code=CODE)
    assert buyer.redeem(token, code=code).state is LinkState.WRONG_CODE
    assert "codeTries" not in buyer.link_row(token)


@pytest.mark.parametrize(
    ("later", "state"), [(timedelta(days=30), LinkState.EXPIRED), (timedelta(days=29), LinkState.SHOWN)]
)
def test_link_ends(buyer: Buyer, later: timedelta, state: LinkState):
    buyer.deliver()
    assert buyer.redeem(buyer.token(), NOW + later).state is state


def test_retention_that_ends_before_the_link_ends_it(buyer: Buyer):
    buyer.deliver(cardsExpireAt="2026-03-20T00:00:00.000Z")
    token = buyer.token()
    assert buyer.redeem(token, NOW + timedelta(days=7)).state is LinkState.CARDS_EXPIRED


def test_thousand_cards_are_shown_in_pages_of_one_view(buyer: Buyer):
    buyer.deliver(401)
    token = buyer.token()
    first = buyer.redeem(token)
    assert (len(first.cards), first.page) == (200, 1)
    third = buyer.redeem(token, page=3, view=first.view)
    assert (sorted(third.cards), third.page) == ([401], 3)
    assert buyer.link_row(token)["uses"] == 1
    assert sorted(buyer.redeem(token, page=99, view="guess").cards) == [401]
    assert buyer.link_row(token)["uses"] == 2


@pytest.mark.parametrize("token", ["", "x", "a" * 32, "a" * 33])
def test_unknown_token_is_not_found(buyer: Buyer, token: str):
    redeemed = buyer.redeem(token)
    assert (redeemed.state, redeemed.link) == (LinkState.NOT_FOUND, None)
    assert buyer.measured.total(Metric.VIEW_NOT_FOUND) == 1


def test_failing_bus_does_not_keep_cards_from_their_buyer(buyer: Buyer):
    buyer.deliver()
    token = buyer.token()
    failed = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}
    buyer.cloud.at_next("PutEvents", failed)
    assert buyer.redeem(token).state is LinkState.SHOWN
    buyer.cloud.at_next("PutEvents", client_error("PutEvents"))
    assert buyer.redeem(token).state is LinkState.SHOWN
    buyer.redeem(token)
    buyer.redeem(token)
    assert len(buyer.published()) == 3  # two that failed, and the one that did not


def test_nothing_stored_or_published_opens_a_link(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(code=CODE)
    buyer.redeem(token, code=CODE)
    stored = repr(buyer.cloud.rows("LinkTable")) + repr(buyer.cloud.rows(buyer.cloud.audit_table))
    for secret in (token, MARK, f"'{CODE}'"):
        assert secret not in stored
        assert secret not in repr(buyer.cloud.sent("PutEvents"))


# ------------------------------------------------------------- after an end


def test_row_that_has_expired_does_not_stop_a_replacement(buyer: Buyer):
    buyer.deliver()
    old, live = buyer.token(), buyer.token(channel="other", days=365)
    buyer.cloud.delete("LinkTable", buyer.link_row(old))  # as DynamoDB does, long after its end
    assert buyer.create(replace=True).outcome is LinkOutcome.CREATED
    assert buyer.redeem(live).state is LinkState.REPLACED


def test_token_of_a_deleted_link_never_opens_anything_again(buyer: Buyer):
    buyer.deliver()
    old = buyer.token(code=CODE)
    buyer.cloud.delete("LinkTable", buyer.link_row(old))
    assert buyer.token() != old
    assert buyer.redeem(old).state is LinkState.NOT_FOUND


def test_order_that_had_a_link_is_remembered(buyer: Buyer):
    buyer.deliver()
    buyer.token()
    buyer.name_recipient()
    buyer.announce()
    (row,) = (row for row in buyer.cloud.rows("LinkTable") if row["pk"].startswith("ORDER#"))
    assert row["expireAt"] > (NOW + timedelta(days=20_000)).timestamp()


@pytest.mark.parametrize("changes", [{"uses": 1}, {"days": 1}])
def test_link_that_has_ended_is_not_handed_out(buyer: Buyer, changes: dict[str, int]):
    buyer.deliver()
    buyer.redeem(buyer.token(**changes))
    later = NOW + timedelta(days=2)
    assert buyer.create(later).outcome is LinkOutcome.ENDED
    assert buyer.create(later, replace=True).outcome is LinkOutcome.CREATED


@pytest.mark.parametrize("options", [{}, {"code": CODE}])
def test_first_page_can_be_shown_again_by_its_ticket(buyer: Buyer, options: dict[str, str]):
    buyer.deliver()
    token = buyer.token(**options)
    first = buyer.redeem(token, code=options.get("code"))
    assert buyer.redeem(token, page=1, view=first.view).state is LinkState.SHOWN
    assert buyer.link_row(token)["uses"] == 1


def test_use_whose_answer_was_lost_is_counted_once(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(uses=1)
    link = buyer.links.get_link(hash_of(token))
    assert link is not None
    ticket = hash_of("0" * 32)  # of the first view
    buyer.cloud.at_next("UpdateItem", lambda: buyer.links.take_use(link, at=NOW, view_hash=ticket))  # type: ignore[arg-type]
    assert buyer.redeem(token).state is LinkState.SHOWN
    assert buyer.link_row(token)["uses"] == 1
