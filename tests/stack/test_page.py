"""The buyer's page of the deployed service in a real browser: ready, wrong code, shown, used up; and a large order."""

import json
import os
import re
import subprocess

import pytest

from giftcards.presentation.texts import catalogue
from giftcards_local.supplier import cards_of
from stack.buyer_links import WEB, delivered, shown_cards, url_of
from support.examples import ROOT
from support.service import Service

pytestmark = pytest.mark.usefixtures("unknown_orders")  # it sets the API key
CODE = "4711"
LARGE = 1_000
BROWSER = ROOT / ".venv-browser/bin/python"


def test_buyer_walks_through_the_page_on_a_phone(service: Service) -> None:
    order_id = delivered(service)
    url = url_of(service, order_id, "--code", CODE, "--uses", "2", "--language", "ar")
    assert BROWSER.exists(), "run `make test-browser` once: it installs the browser's environment"
    finished = subprocess.run(
        [BROWSER, "-m", "browser.walk", url, CODE],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'layers/core'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    walked = json.loads(finished.stdout)

    steps = {step["name"]: step for step in walked["steps"]}
    texts = catalogue("ar")
    assert {name: (step["status"], step["heading"]) for name, step in steps.items()} == {
        "ready": (200, texts.page["ready"]),
        "wrong code": (403, texts.page["ready"]),
        "shown": (200, texts.page["shown"]),
        "ready again": (200, texts.page["ready"]),
        "shown again": (200, texts.page["shown"]),
        "used up": (410, texts.states["USED_UP"]["title"]),
    }
    expected = cards_of(order_id, 2)
    for name, step in steps.items():
        cards = expected if name.startswith("shown") else []
        assert (step["values"], step["serials"]) == ([c["value"] for c in cards], [c["serial"] for c in cards])
        assert (step["direction"], step["isTooWide"]) == ("rtl", False)
    assert {request.split("?")[0] for request in walked["asked"]} == {url}
    assert walked["storage"] == {"cookies": [], "origins": []}


def test_large_order_is_shown_in_pages_of_one_use(service: Service) -> None:
    order_id = delivered(service, LARGE)
    url = url_of(service, order_id, "--uses", "1")
    page = WEB.post(url)
    shown = shown_cards(page.text)
    (view,) = set(re.findall(r'name="view" value="([0-9a-f]+)"', page.text))
    for number in range(2, 6):
        page = WEB.post(url, data={"view": view, "page": str(number)})
        assert page.status_code == 200
        shown += shown_cards(page.text)
    assert shown == [(card["value"], card["serial"]) for card in cards_of(order_id, LARGE)]
    assert WEB.get(url).status_code == 410  # the one use was enough
