"""Terminals, pipes, locales and key files: output never fails after a card is decrypted."""

import codecs
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from giftcards_cli import output
from giftcards_cli.commands import local
from giftcards_cli.stack import CommandError

PROGRAM = """
import json, os
from giftcards_cli import main
from giftcards_cli.stack import Stack

class Deployed:
    def caller(self):
        return "caller"
    def invoke(self, function, payload):
        values = json.loads(os.environ["CARDS"])
        return {"outcome": "REVEALED", "cards": [{"index": 1, "value": value, "serial": "s"} for value in values]}

Stack.connect = lambda name: Deployed()
main.main()
"""
REVEAL = [sys.executable, "-c", PROGRAM, "reveal", "order-1", "--user", "alice"]
CARDS = ["é", "ключ", "🂡", "a\N{NO-BREAK SPACE}b", "\ud800", "✔", "plain"]
MANY = {"CARDS": json.dumps(["plain"] * 10_000)}
PATH = {"PATH": os.environ["PATH"]}


def reveal(*more: str, encoding: str) -> subprocess.CompletedProcess[str]:
    environment = PATH | {"CARDS": json.dumps(CARDS), "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [*REVEAL, *more], env=environment, capture_output=True, text=True, encoding=encoding, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_cards_are_printed_in_any_encoding(encoding: str):
    done = reveal(encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.removeprefix("1  ").removesuffix("  s").strip() for line in done.stdout.split("\n")[1:-1]]
    assert [json.loads(card) if card.startswith('"') else card for card in shown] == CARDS


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_json_is_valid_in_any_encoding(encoding: str):
    done = reveal("--json", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert [card["value"] for card in json.loads(done.stdout)["cards"]] == CARDS


@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX"}, {"LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_cards_are_printed_in_any_locale(locale: dict[str, str]):
    environment = PATH | {"CARDS": json.dumps(CARDS)} | locale
    done = subprocess.run(REVEAL, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("é".encode() in done.stdout) or (b'"\\u00e9"' in done.stdout)


@pytest.mark.parametrize("cards", [PATH | {"CARDS": '["plain"]'}, PATH | MANY], ids=["buffered", "written"])
def test_closed_pipe_is_no_error_message(cards: dict[str, str]):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(REVEAL, env=cards, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("cards", [PATH | {"CARDS": '["plain"]'}, PATH | MANY], ids=["buffered", "written"])
def test_full_disk_is_one_line(cards: dict[str, str]):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(REVEAL, env=cards, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("giftcards: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_stdout_is_success():
    program = ["sh", "-c", 'exec "$@" >&-', "sh", *REVEAL]
    done = subprocess.run(program, env=PATH | {"CARDS": '["plain"]'}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_own_symbols_have_an_ascii_form():
    codecs.register_error("giftcards", output._replace)
    assert "✔ 2× – … ✗ é".encode("ascii", errors="giftcards") == b"ok 2x - ... x \\xe9"


def test_help_is_printed_in_any_encoding():
    command = [sys.executable, "-m", "giftcards_cli", "--help"]
    done = subprocess.run(
        command, env=PATH | {"PYTHONIOENCODING": "ascii"}, capture_output=True, encoding="ascii", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "reveal" in done.stdout


def test_argument_that_is_not_text_is_wrong_usage():
    command = [sys.executable, "-m", "giftcards_cli", "place", b"\xff\xfe", "--user", "alice"]
    done = subprocess.run(command, env=PATH, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "ORDER_ID" in done.stderr


# ----------------------------------------------------------------- key files


@pytest.mark.parametrize(
    "content",
    [
        b"secret-key",
        b"secret-key\n",
        b"secret-key\r\n",
        b"  secret-key \n\n",
        codecs.BOM_UTF8 + b"secret-key\r\n",
        codecs.BOM_UTF16_LE + "secret-key\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "secret-key".encode("utf-16-be"),
    ],
)
def test_key_file_is_read_in_any_common_encoding(content: bytes, tmp_path: Path):
    (tmp_path / "key").write_bytes(content)
    assert local._read_api_key(tmp_path / "key") == "secret-key"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (codecs.BOM_UTF16_LE, "is empty"),
        (b"two\nlines", "must contain one line"),
        (b"two words", "must contain one line"),
        ("schlüssel".encode(), "must contain one line"),
        (b"\xff\xff", "is not text in UTF-8 or UTF-16"),
        (codecs.BOM_UTF16_LE + b"x", "is not text in UTF-8 or UTF-16"),
        (None, "cannot be read .No such file"),
    ],
)
def test_invalid_key_file_is_wrong_usage(content: bytes | None, words: str, tmp_path: Path):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(CommandError, match=words) as refused:
        local._read_api_key(tmp_path / "key")
    assert refused.value.exit_code == 2
    assert "schl" not in str(refused.value)


# ------------------------------------------------------------ printed paths


def test_printed_path_is_quoted_for_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "gift cards é's"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    quoted = local._short(folder / "env")
    assert subprocess.run(["sh", "-c", f"printf %s {quoted}"], capture_output=True, text=True, check=True).stdout == (
        "gift cards é's/env"
    )
    monkeypatch.chdir(folder)
    assert local._short(folder / "env") == "env"
