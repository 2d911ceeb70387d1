"""Line charts as SVG, in the colours and type of the other pictures in docs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 48, 56
_COLOURS = ("#cf222e", "#0969da", "#57606a")
_STYLE = (
    'text { font-family: -apple-system, BlinkMacSystemFont, "Segoe UI", Helvetica, Arial, sans-serif; '
    "font-size: 12px; fill: #1f2328 } .title { font-size: 14px; font-weight: 600 } .tick { fill: #57606a }"
)


@dataclass(frozen=True)
class Chart:
    """A chart with logarithmic axes.

    Attributes
    ----------
    lines
        Points by the name of a line; at most three lines.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]

    def svg(self) -> str:
        """Draw it."""
        size = f'width="{_WIDTH}" height="{_HEIGHT}"'
        box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self.title)}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box}>',
            f"<style>{_STYLE}</style>",
            f'<rect {size} fill="white"/>',
            _text(_LEFT, 24, self.title, kind="title"),
            _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, self.x_label, kind="tick", anchor="middle"),
            _text(_LEFT, _TOP - 8, self.y_label, kind="tick"),
        ]
        for tick in self.y_ticks:
            y = self._y(tick)
            parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#d0d7de"/>')
            parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", kind="tick", anchor="end"))
        for tick in self.x_ticks:
            x = self._x(tick)
            parts.append(f'<path d="M{x:.1f} {_HEIGHT - _BOTTOM}v5" stroke="#57606a"/>')
            parts.append(_text(x, _HEIGHT - _BOTTOM + 20, f"{tick:,.0f}", kind="tick", anchor="middle"))
        ends: list[float] = []
        for colour, (name, points) in zip(_COLOURS, self.lines.items(), strict=False):
            place = [(self._x(x), self._y(y)) for x, y in points]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in place)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in place]
            y = place[-1][1]
            while any(abs(y - other) < 15 for other in ends):  # names do not cover each other
                y += 15
            ends.append(y)
            parts.append(_text(_WIDTH - _RIGHT + 9, y + 4, name, style=f"fill: {colour}"))
        return "\n".join([*parts, "</svg>", ""])

    def _x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * _share(value, self.x_ticks)

    def _y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * _share(value, self.y_ticks)


def _share(value: float, ticks: Sequence[float]) -> float:
    inside = min(max(value, ticks[0]), ticks[-1])
    return math.log(inside / ticks[0]) / math.log(ticks[-1] / ticks[0])


def _text(x: float, y: float, text: str, **attributes: str) -> str:
    """Write a text; ``anchor`` and ``kind`` are named differently in SVG."""
    names = {"anchor": "text-anchor", "kind": "class"}
    given = "".join(f' {names.get(name, name)}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{given}>{escape(text)}</text>'
