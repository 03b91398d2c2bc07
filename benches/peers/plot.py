"""The plot of a saved run: wall time by size, a panel for each setting, readable on light and dark pages."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import report

# Distinct for colour-blind eyes, and of middle lightness for both backgrounds.
COLOURS = {
    "seakernel": "#d55e00",
    "databricks-sql-kernel": "#0a7fc2",
    "arrowbricks": "#00936a",
    "connector-kernel": "#6fa8dc",
    "connector-sea": "#b565a7",
    "floor-8": "#8a8a8a",
    "floor-16": "#8a8a8a",
}
DASHES = {"floor-8": "2 4", "floor-16": "7 4"}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .small { font-size: 11px } .title { font-weight: 600 }
.page { fill: #ffffff } .grid { stroke: #d0d7de } .line { fill: none; stroke-width: 2 } .wrong { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .page, .wrong { fill: #0d1117 } .grid { stroke: #30363d }
}"""
PANEL_WIDTH, PANEL_HEIGHT = 430, 280
LEFT, TOP, GAP = 60, 116, 64


def draw(document: dict[str, Any]) -> str:
    runs = report.select(document["runs"], measure="whole")
    panels = list(dict.fromkeys((run["setting"], run["links"]) for run in runs))
    clients = [client for client in COLOURS if report.select(runs, client=client)]
    sizes = sorted({run["rows"] for run in runs})
    walls = [run["wall_s"] for run in runs if "wall_s" in run]
    lowest, highest = math.floor(math.log10(min(walls))), math.ceil(math.log10(max(walls)))
    rows_of_panels = math.ceil(len(panels) / 2)
    width = LEFT + 2 * PANEL_WIDTH + GAP + 24
    height = TOP + rows_of_panels * (PANEL_HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Wall time to fetch a result, by client and size</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        text(LEFT, 26, "Execute to the whole result as a pyarrow table: median, log scale, lower is better", "title"),
        *legend(clients),
    ]
    for number, (setting, links) in enumerate(panels):
        left = LEFT + number % 2 * (PANEL_WIDTH + GAP)
        top = TOP + number // 2 * (PANEL_HEIGHT + GAP)
        parts += panel(
            report.select(runs, setting=setting, links=links), clients, sizes, (left, top), (lowest, highest)
        )
        parts.append(text(left, top - 10, f"{setting}, {links} {report.plural(links)} an answer", "title"))
    return "\n".join([*parts, "</svg>\n"])


def legend(clients: list[str]) -> list[str]:
    parts, x = [], LEFT
    for client in clients:
        parts.append(f'<path class="line" {stroke(client)} d="M{x} 50h24"/>')
        parts.append(text(x + 30, 54, client))
        x += 52 + 7 * len(client)
    return [*parts, text(LEFT, 72, "A hollow point: some of its runs returned a wrong result.", "small")]


def panel(
    runs: list[report.Run], clients: list[str], sizes: list[int], corner: tuple[int, int], powers: tuple[int, int]
) -> list[str]:
    (left, top), (lowest, highest) = corner, powers
    step = PANEL_WIDTH / max(1, len(sizes))

    def across(rows: int) -> float:
        return left + step * (sizes.index(rows) + 0.5)

    def down(seconds: float) -> float:
        return top + PANEL_HEIGHT * (highest - math.log10(seconds)) / (highest - lowest)

    parts = []
    for power in range(lowest, highest + 1):
        y = down(10.0**power)
        label = f"{10**power:g} s" if power >= 0 else f"{10 ** (power + 3):g} ms"
        parts.append(f'<path class="grid" d="M{left} {y:.1f}h{PANEL_WIDTH}"/>')
        parts.append(text(left - 8, y + 4, label, "small", "end"))
    parts += [text(across(rows), top + PANEL_HEIGHT + 18, short(rows), "small", "middle") for rows in sizes]
    # Ours is drawn last, over the others.
    for client in sorted(clients, key=lambda client: client == report.OURS):
        points = []
        for rows in sizes:
            measured = [run for run in report.select(runs, client=client, rows=rows) if "wall_s" in run]
            if measured:
                right = all(run["correct"] for run in measured)
                points.append((across(rows), down(report.median(measured, "wall_s")), right))
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        parts.append(f'<polyline class="line" {stroke(client)} points="{line}"/>')
        parts += [dot(client, x, y, right) for x, y, right in points]
    return parts


def dot(client: str, x: float, y: float, right: bool) -> str:
    fill = f'fill="{COLOURS[client]}"' if right else f'class="wrong" stroke="{COLOURS[client]}" stroke-width="2"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 if right else 5}" {fill}/>'


def stroke(client: str) -> str:
    dashes = f' stroke-dasharray="{DASHES[client]}"' if client in DASHES else ""
    width = ' style="stroke-width: 4"' if client == report.OURS else ""
    return f'stroke="{COLOURS[client]}"{dashes}{width}'


def short(rows: int) -> str:
    if rows == 1:
        return "SELECT 1"
    return f"{rows // 10**6} M" if rows >= 10**6 else f"{rows // 1000} K"


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(content)}</text>'
