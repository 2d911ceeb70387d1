"""Draw docs/dashboard.png: the dashboard of template.yaml as CloudWatch shows it, with the data of a made-up day."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import dashboard_body
from dashboard_body import Row
from giftcards.metrics import NAMESPACE, Metric
from sample_day import BEGINS, DAY, HOUR, RINGING, Day

SEED = 19
WIDTH, COLUMNS, ROW = 1600, 24, 46  # pixels, columns, pixels
GAP, PAD = 4, 12  # pixels around a widget, and within it
INK, FAINT, LINE, PAPER, PAGE = "#16191f", "#5f6b7a", "#d5dbdb", "#ffffff", "#f2f3f3"
GOOD, BAD, LINK = "#2ca02c", "#d62728", "#0073bb"
UNITS = {metric.label: {"Seconds": " s", "Milliseconds": " ms", "Count": ""}[metric.unit] for metric in Metric}
PERCENTILE = re.compile(r"p(\d+)")

Series = np.ndarray


def statistic(samples: list[tuple[float, float]], stat: str, period: int) -> Series:
    """Return a statistic of each period of the day, NaN where nothing was measured."""
    series = np.full(DAY // period, np.nan)
    if not samples:
        return series
    when, values = np.array(sorted(samples)).T
    places = (when // period).astype(int)
    percentile = PERCENTILE.fullmatch(stat)
    for place in np.unique(places):
        of_period = values[places == place]
        if percentile:
            series[place] = np.percentile(of_period, int(percentile[1]))
        else:
            series[place] = {"Sum": np.sum, "Maximum": np.max}[stat](of_period)
    return series


def fill(series: Any, value: float) -> Any:
    """Do as FILL of CloudWatch's metric math: to one series, or to each of several."""
    if isinstance(series, list):
        return [fill(one, value) for one in series]
    return np.where(np.isnan(series), value, series)


class Data:
    """What a widget shows: by row, its series.

    Parameters
    ----------
    widget
        One widget of the dashboard's body.
    day
        What was measured.
    """

    def __init__(self, widget: Mapping[str, Any], day: Day) -> None:
        self.held = widget["properties"]
        self.day = day
        self.rows = list(dashboard_body.rows(widget))

    @cached_property
    def period(self) -> int:
        """Seconds of a point."""
        return DAY if self.held.get("setPeriodToTimeRange") else self.held["period"]

    def shown(self) -> Iterator[tuple[Row, Series]]:
        """Give the rows that are shown."""
        by_id: dict[str, Series] = {}
        metrics = {n: self._series(row) for n, row in enumerate(self.rows) if row.expression is None}
        by_id.update({self.rows[n].options["id"]: s for n, s in metrics.items() if "id" in self.rows[n].options})
        for n, row in enumerate(self.rows):
            series = metrics[n] if row.expression is None else self._compute(row.expression, metrics.values(), by_id)
            by_id[row.options.get("id", "")] = series
            if row.options.get("visible", True):
                yield row, series

    def _series(self, row: Row) -> Series:
        own = row.namespace == NAMESPACE
        name = row.name if own else " ".join([row.name, *row.dimensions.values()])
        if not own and name not in self.day.samples:
            raise LookupError(f"docs/sample_day.py: measure {name}")
        return statistic(self.day.samples.get(name, []), row.options.get("stat", self.held["stat"]), self.period)

    def _compute(self, expression: str, metrics: Iterable[Series], by_id: Mapping[str, Series]) -> Series:
        ids = {row.options["id"] for row in self.rows if row.expression is None and "id" in row.options}
        functions = {
            "METRICS": lambda part=None: list(metrics) if part is None else [by_id[i] for i in ids if part in i],
            "FILL": fill,
            "SUM": lambda several: np.sum(several, axis=0),
        }
        with np.errstate(invalid="ignore", divide="ignore"):  # what CloudWatch says in these expressions is Python too
            return eval(expression, {"__builtins__": {}, **functions}, dict(by_id))  # noqa: S307 - our own template's


class Picture:
    """A dashboard, drawn widget by widget."""

    def __init__(self, body: Mapping[str, Any], day: Day) -> None:
        mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.linewidth": 0.8})
        self.day = day
        self.colours = {
            row.options["color"]
            for widget in body["widgets"]
            for row in dashboard_body.rows(widget)
            if "color" in row.options
        }
        self.height = ROW * max(widget["y"] + widget["height"] for widget in body["widgets"]) + 2 * GAP
        self.figure = Figure(figsize=(WIDTH / 100, self.height / 100), dpi=100, facecolor=PAGE)
        self.canvas = FigureCanvasAgg(self.figure)
        self.back = self._axes(0, 0, WIDTH, self.height)
        self.back.set(xlim=(0, WIDTH), ylim=(self.height, 0))
        self.back.axis("off")
        for widget in body["widgets"]:
            self._draw(widget)

    def save(self, stamp: str) -> None:
        """Write the picture in the colours that it has and their tints, so that it is small."""
        self.canvas.draw()
        info = PngInfo()
        info.add_text("Description", stamp)
        strong = np.array([to_rgb(colour) for colour in [INK, FAINT, LINK, *sorted(self.colours)]])
        tints = [colour + (1 - colour) * part for colour in strong for part in np.linspace(0, 0.9, 11)]
        colours = np.array([*(to_rgb(colour) for colour in (PAPER, PAGE, LINE)), *tints])
        palette = Image.new("P", (1, 1))
        palette.putpalette((colours * 255).round().astype(np.uint8).tobytes())
        drawn = Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")
        small = drawn.quantize(palette=palette, dither=Image.Dither.NONE)
        small.save(dashboard_body.PICTURE, optimize=True, pnginfo=info)

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes(
            (x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height), facecolor="none"
        )

    def _draw(self, widget: Mapping[str, Any]) -> None:
        column, held = (WIDTH - 2 * GAP) / COLUMNS, widget["properties"]
        x, y = 2 * GAP + widget["x"] * column, 2 * GAP + widget["y"] * ROW
        width, height = widget["width"] * column - 2 * GAP, widget["height"] * ROW - 2 * GAP
        if held.get("background") != "transparent":
            box = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=6", fc=PAPER, ec=LINE, lw=1)
            self.back.add_patch(box)
        if widget["type"] == "text":
            self._markdown(held["markdown"], x, y, width)
            return
        self._text(held["title"], x + PAD, y + 20, size=10, weight="bold")
        if widget["type"] == "alarm":
            self._alarms(held["alarms"], x + PAD, y + 34, width - 2 * PAD, height - 44)
        elif held["view"] == "singleValue":
            self._numbers(Data(widget, self.day), x + PAD, y + 34, width - 2 * PAD, height - 40)
        else:
            self._graph(Data(widget, self.day), x, y + 30, width, height - 30)

    # Words.

    def _text(self, words: str, x: float, y: float, size: float = 9, weight: str = "normal", **look: Any) -> float:
        """Write words from ``x``, on the line ``y``, and return where they end."""
        self.back.text(x, y, words, size=size, weight=weight, **{"color": INK, "va": "baseline", **look})
        return x + self._wide(words, size, weight)

    def _wide(self, words: str, size: float, weight: str = "normal") -> float:
        font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
        return self.canvas.get_renderer().get_text_width_height_descent(words, font, ismath=False)[0]

    def _markdown(self, text: str, x: float, y: float, width: float) -> None:
        """Write headings, paragraphs, lists, bold words and links: as much of Markdown as the dashboard has."""
        y += 6
        for line in text.split("\n"):
            heading = len(line) - len(line.lstrip("#"))
            size = {0: 9.5, 1: 15, 2: 12.5, 3: 11}[heading]
            y += {0: 17, 1: 24, 2: 26, 3: 22}[heading] if line else 8
            y = self._paragraph(line.lstrip("# "), x + (PAD if width < WIDTH / 2 else 2), y, x + width - PAD, size)
            y += 6 if heading else 0

    def _paragraph(self, line: str, x: float, y: float, right: float, size: float) -> float:
        begin = here = x
        for bold, label, plain in re.findall(r"\*\*(.+?)\*\*|\[(.+?)\]\(.*?\)|([^*\[]+)", line):
            weight = "bold" if bold or size > 10 else "normal"
            for word in re.findall(r"\S+\s*|\s+", bold or label or plain):
                if here + self._wide(word.rstrip(), size, weight) > right:
                    begin = x + (self._wide("1. ", size) if line[:1].isdigit() else 0)
                    here, y = begin, y + 17
                self._text(word.rstrip(), here, y, size, weight, color=LINK if label else INK)
                space = self._wide("a b", size) - self._wide("ab", size)
                here += self._wide(word.rstrip(), size, weight) + (space if word != word.rstrip() else 0)
        return y

    # Widgets.

    def _alarms(self, arns: list[str], x: float, y: float, width: float, height: float) -> None:
        across = 4
        down = -(-len(arns) // across)
        wide, high = width / across, min(height / down, 52)
        for n, arn in enumerate(arns):
            name = arn.rpartition(":")[2]
            colour = BAD if name.endswith(RINGING) else GOOD
            left, top = x + n % across * wide, y + n // across * high
            box = (left, top), wide - 8, high - 8
            self.back.add_patch(Rectangle(*box, fc=colour, alpha=0.1, lw=0))
            self.back.add_patch(Rectangle((left, top), 4, high - 8, fc=colour, lw=0))
            self._text(name, left + 14, top + (high - 8) / 2 - 2, 9, "bold" if colour == BAD else "normal")
            state = "In alarm" if colour == BAD else "OK"
            self._text(state, left + 14, top + (high - 8) / 2 + 13, 8.5, "bold", color=colour)

    def _numbers(self, data: Data, x: float, y: float, width: float, height: float) -> None:
        shown = list(data.shown())
        wide = width / len(shown)
        for n, (row, series) in enumerate(shown):
            left, colour = x + n * wide, row.options["color"]
            self.back.add_patch(Rectangle((left, y + 6), 4, 56, fc=colour, lw=0))
            end = self._text(f"{series[-1]:,.0f}", left + 14, y + 36, 22)
            self._text(UNITS[row.name], end, y + 36, 12, color=FAINT)
            self._text(row.options["label"], left + 14, y + 58, 9.5, color=FAINT)
            if data.held.get("sparkline"):
                axes = self._axes(left, y + height - 56, wide - 14, 46)
                axes.fill_between(np.arange(len(series)), series, color=colour, alpha=0.15, lw=0)
                axes.plot(series, color=colour, lw=1)
                axes.set(xlim=(0, len(series)), ylim=(0, None))
                axes.axis("off")

    def _graph(self, data: Data, x: float, y: float, width: float, height: float) -> None:
        shown, y_axis = list(data.shown()), data.held["yAxis"]
        beside = data.held.get("legend", {}).get("position") == "right"
        legend = max(self._wide(row.options["label"], 8.5) for row, _ in shown) + 34 if beside else 0
        below = 0 if beside else self._legend(shown, x, y, width, draw=False)
        right = 50 if "right" in y_axis else 24
        frame = x + 46, y + 20, width - 46 - right - legend, height - 20 - 28 - below
        axes = self._axes(*frame)
        seconds = np.arange(DAY // data.period) * data.period
        self._plot(axes, [pair for pair in shown if pair[0].options.get("yAxis") != "right"], seconds, data)
        self._look(axes, y_axis["left"], frame)
        if "right" in y_axis:
            other = axes.twinx()
            self._plot(other, [pair for pair in shown if pair[0].options.get("yAxis") == "right"], seconds, data)
            self._look(other, y_axis["right"], frame, right=True)
        if beside:
            self._legend(shown, x + width - legend - 4, y + 10, legend, draw=True)
        else:
            self._legend(shown, x, y + height - below - 2, width, draw=True)

    def _plot(self, axes: Axes, shown: list[tuple[Row, Series]], seconds: Series, data: Data) -> None:
        if data.held.get("stacked"):
            bottom = np.zeros(len(seconds))
            for row, series in shown:
                top = bottom + fill(series, 0)
                if np.any(top > bottom):
                    axes.fill_between(seconds, bottom, top, color=row.options["color"], alpha=0.8, lw=0)
                bottom = top
            axes.set_ylim(0, max(bottom.max(), 1))
            return
        for row, series in shown:
            has = ~np.isnan(series)
            axes.plot(seconds[has], series[has], color=row.options["color"], lw=1.3)
        highest = max((np.nanmax(series) for _, series in shown if not np.all(np.isnan(series))), default=1)
        axes.set_ylim(0, highest or 1)

    def _look(self, axes: Axes, axis: Mapping[str, Any], frame: tuple[float, ...], *, right: bool = False) -> None:
        x, y, width, _ = frame
        axes.set_xlim(0, DAY)
        locator = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=axes.get_ylim()[1] >= 1)
        axes.set_ylim(axis["min"], axis.get("max") or locator.tick_values(*axes.get_ylim())[-1])
        axes.yaxis.set_major_locator(locator)
        hours = range(0, DAY // HOUR + 1, 3 if width > 280 else 6)
        axes.set_xticks([hour * HOUR for hour in hours], [f"{(hour + BEGINS // HOUR) % 24:02}:00" for hour in hours])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.tick_params(labelsize=8, colors=FAINT, length=0, pad=4)
        axes.set_axisbelow(True)
        if not right:
            axes.grid(axis="y", color=LINE, lw=0.6)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom" and not right)
            spine.set_color(LINE)
        place = {"x": x + width + 4, "ha": "center"} if right else {"x": x - 34}
        self._text(axis["label"], y=y - 9, size=8, color=FAINT, **place)

    def _legend(self, shown: list[tuple[Row, Series]], x: float, y: float, width: float, *, draw: bool) -> float:
        """Write names in lines as wide as ``width``; return how high that is."""
        here, line, high = x + PAD, 0, 17
        for row, _ in shown:
            needs = self._wide(row.options["label"], 8.5) + 30
            if here > x + PAD and here + needs - 12 > x + width - 4:
                here, line = x + PAD, line + 1
            if draw:
                top = y + line * high
                self.back.add_patch(Rectangle((here, top), 9, 9, fc=row.options["color"], lw=0))
                self._text(row.options["label"], here + 14, top + 9, 8.5, color=INK)
            here += needs
        return (line + 1) * high + 4


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


if __name__ == "__main__":
    body = dashboard_body.load()
    Picture(body, Day(SEED)).save(dashboard_body.stamp(body))
