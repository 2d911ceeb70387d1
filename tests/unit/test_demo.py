"""The demo waits as long as orders move, however slow the machine, and no longer."""

from giftcards_cli.demo import STALLED_AFTER_SECONDS, follow


class SlowMachine:
    """Orders that move at these seconds; time passes only while the demo pauses."""

    def __init__(self, *moves: float) -> None:
        self.now = 0.0
        self._moves = moves

    def look(self) -> int:
        return sum(move <= self.now for move in self._moves)

    def is_closed(self) -> bool:
        return self.look() == len(self._moves)

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def follow(self, *, closes: bool = True) -> bool:
        until = self.is_closed if closes else bool
        return follow(self.look, until=until, clock=lambda: self.now, pause=self.pause)


def test_orders_that_move_are_followed_for_as_long_as_it_takes():
    machine = SlowMachine(*(minute * (STALLED_AFTER_SECONDS - 1) for minute in range(50)))
    assert machine.follow()
    assert machine.now > 5000


def test_orders_that_stand_still_are_given_up():
    machine = SlowMachine(100)
    assert not machine.follow(closes=False)
    assert STALLED_AFTER_SECONDS + 100 <= machine.now < STALLED_AFTER_SECONDS + 101
