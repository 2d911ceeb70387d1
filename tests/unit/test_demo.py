"""The demo waits while orders make progress, however slow the machine."""

from giftcards_cli.demonstration import STALLED_AFTER_SECONDS, follow


class SlowMachine:
    """Orders that make progress at given seconds; time passes only while the demo pauses."""

    def __init__(self, *steps: float) -> None:
        self.now = 0.0
        self._steps = steps

    def poll(self) -> int:
        return sum(step <= self.now for step in self._steps)

    def is_closed(self) -> bool:
        return self.poll() == len(self._steps)

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def follow(self, *, closes: bool = True) -> bool:
        until = self.is_closed if closes else bool
        return follow(self.poll, until=until, clock=lambda: self.now, pause=self.pause)


def test_orders_with_progress_are_followed_to_the_end():
    machine = SlowMachine(*(minute * (STALLED_AFTER_SECONDS - 1) for minute in range(50)))
    assert machine.follow()
    assert machine.now > 5000


def test_demo_gives_up_without_progress():
    machine = SlowMachine(100)
    assert not machine.follow(closes=False)
    assert STALLED_AFTER_SECONDS + 100 <= machine.now < STALLED_AFTER_SECONDS + 101
