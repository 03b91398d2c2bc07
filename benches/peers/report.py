"""What the runs say: medians, paired ratios, targets met or missed."""

from __future__ import annotations

import os
import platform
import statistics
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any, NamedTuple

Run = dict[str, Any]
OURS = "seakernel"
KERNEL = "databricks-sql-kernel"
MIB = "MiB"


class Target(NamedTuple):
    """`client`'s figure divided by `peer`'s, or in MiB without a peer, is to be at most `limit`."""

    setting: str
    links: int
    rows: int
    measure: str
    figure: str
    limit: float
    peer: str | None = KERNEL
    client: str = OURS


# The floor of the targets has 8 connections.
TARGETS = [
    Target("loopback", 8, 1, "whole", "wall_s", 1.0),
    Target("loopback", 8, 10_000, "whole", "wall_s", 1.0),
    Target("loopback", 8, 1_000_000, "whole", "wall_s", 0.60),
    Target("loopback", 8, 10_000_000, "whole", "wall_s", 0.50),
    Target("loopback", 8, 10_000_000, "whole", "wall_s", 1.15, "floor-8"),
    Target("loopback", 8, 10_000_000, "whole", "cpu_s", 0.60),
    Target("cloud", 8, 100_000, "whole", "wall_s", 0.65),
    Target("cloud", 8, 500_000, "whole", "wall_s", 0.65),
    Target("cloud", 8, 10_000_000, "whole", "wall_s", 0.85),
    Target("cloud", 8, 10_000_000, "whole", "wall_s", 1.0, "floor-8"),
    Target("cloud", 1, 10_000_000, "whole", "wall_s", 0.45),
    Target("cloud", 1, 10_000_000, "whole", "wall_s", 1.0, "arrowbricks"),
    Target("loopback", 8, 10_000_000, "batches", "first_batch_s", 0.5),
    Target("cloud", 8, 10_000_000, "batches", "first_batch_s", 0.9),
    *(
        target
        for setting in ("loopback", "cloud")
        for target in (
            Target(setting, 8, 10_000_000, "batches", "peak_growth_mib", 0.75),
            Target(setting, 8, 10_000_000, "batches", "peak_growth_mib", 128, None, "seakernel-64MiB"),
            Target(setting, 8, 10_000_000, "batches", "wall_s", 1.1, OURS, "seakernel-64MiB"),
        )
    ),
]
FIGURES = {
    "wall_s": "wall",
    "cpu_s": "CPU time",
    "first_batch_s": "first batch",
    "peak_growth_mib": "peak memory growth",
}
MEASURES = {"whole": "as one table", "batches": "batch by batch"}


def circumstances(packages: list[str]) -> dict[str, Any]:
    """When and where this was measured, and of what versions."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "versions": {package: version(package) for package in packages},
    }


def listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in versions.items())


def select(runs: list[Run], **wanted: object) -> list[Run]:
    return [run for run in runs if all(run[key] == value for key, value in wanted.items())]


def median(runs: list[Run], figure: str) -> float | None:
    found = [run[figure] for run in runs if run.get(figure) is not None]
    return statistics.median(found) if found else None


def ratios(ours: list[Run], theirs: list[Run], figure: str) -> list[float]:
    """Our figure divided by theirs, for each round in which both were right."""
    by_round = {run["round"]: run[figure] for run in theirs if run["correct"] and run[figure]}
    return [run[figure] / by_round[run["round"]] for run in ours if run["correct"] and run["round"] in by_round]


def achieved(target: Target, runs: list[Run]) -> tuple[str, str]:
    """What a target's figure came to, and whether it is met, missed or not known."""
    cell = select(runs, setting=target.setting, links=target.links, rows=target.rows, measure=target.measure)
    ours = select(cell, client=target.client)
    if not ours:
        return "", "not measured"
    if not all(run["correct"] for run in ours):
        return "", "MISSED: ours was not right"
    if target.peer is None:
        value = median(ours, target.figure)
        return f"{value:.0f} {MIB}", "met" if value <= target.limit else "MISSED"
    theirs = [run for run in select(cell, client=target.peer) if "failed" not in run]
    right, note = ratios(ours, theirs, target.figure), ""
    if theirs and not right:
        # With fewer rows a peer is faster and smaller: to win against that is to win. With more it is no match.
        short = [{**run, "correct": True} for run in theirs if run["rows_found"] < run["rows"]]
        right = ratios(ours, short, target.figure)
        note = f" ({target.peer} was never right)"
    if not right:
        return "", f"not measured{note}"
    rounds = "" if len(right) == len(ours) else f" ({len(right)} of {len(ours)} rounds)"
    value = statistics.median(right)
    return f"{value:.2f}{rounds}", ("met" if value <= target.limit else "MISSED") + note


def target_table(runs: list[Run]) -> str:
    rows = []
    for target in TARGETS:
        unit, of = (f" {MIB}", "") if target.peer is None else ("", f" of {target.peer}")
        subject = "" if target.client == OURS else f" ({target.client})"
        rows.append(
            [
                f"{target.setting}, {target.links} {plural(target.links)}",
                size(target.rows),
                f"{MEASURES[target.measure]}: {FIGURES[target.figure]}{subject}",
                f"<= {target.limit:g}{unit}{of}",
                *achieved(target, runs),
            ]
        )
    return table(["setting", "size", "figure", "target", "measured", ""], rows)


def cell_table(runs: list[Run]) -> str:
    """One cell, a line for each client; ratios are ours divided by theirs."""
    cell = runs[0]
    streams = cell["measure"] == "batches"
    figures = ["wall_s", *(["first_batch_s"] if streams else []), "cpu_s", "peak_growth_mib"]
    ours = select(runs, client=OURS)
    rows = []
    for client in sorted({run["client"] for run in runs}, key=[run["client"] for run in runs].index):
        theirs = select(runs, client=client)
        fetched = [run for run in theirs if "failed" not in run]
        line = [client]
        for figure in figures:
            # Of what is next to nothing, a ratio says nothing.
            tiny = figure == "peak_growth_mib" and cell["rows"] < 100_000
            quotients = [] if client == OURS or tiny else ratios(ours, theirs, figure)
            line += [spread(fetched, figure), f"{statistics.median(quotients):.2f}" if quotients else ""]
        rows.append([*line, requests(fetched), verdict(theirs)])
    head = [column for figure in figures for column in (FIGURES[figure], "ours / it")]
    title = f"{cell['setting']}, {cell['links']} {plural(cell['links'])} an answer: {size(cell['rows'])} {MEASURES[cell['measure']]}"
    return f"\n### {title}\n\n{table(['client', *head, 'requests', 'result'], rows)}"


def spread(runs: list[Run], figure: str) -> str:
    middle = median(runs, figure)
    if middle is None:
        return ""
    if figure == "peak_growth_mib":
        return f"{middle:.0f} {MIB}"
    if figure != "wall_s":
        return f"{milliseconds(middle)} ms"
    walls = [run[figure] for run in runs]
    return f"{milliseconds(middle)} ms ({milliseconds(min(walls))}..{milliseconds(max(walls))})"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.{1 if seconds < 0.1 else 0}f}"


def requests(runs: list[Run]) -> str:
    """Requests about one statement, those to the API and those to the store, and bytes from the store."""
    if not runs:
        return ""
    counts = [run["requests"] for run in runs]
    store = statistics.median(count.get("download", 0) for count in counts)
    api = statistics.median(
        sum(number for name, number in count.items() if name not in ("download", "ranges")) for count in counts
    )
    ranges = statistics.median(count.get("ranges", 0) for count in counts)
    mib = statistics.median(run["store_mib"] for run in runs)
    parts = [f"{api:g} API", f"{store:g} store ({mib:.0f} {MIB})", *([f"{ranges:g} ranges"] if ranges else [])]
    return ", ".join(parts)


def verdict(runs: list[Run]) -> str:
    failed = [run["failed"] for run in runs if "failed" in run]
    wrong = [run["rows_found"] for run in runs if "failed" not in run and not run["correct"]]
    ended = [run["exit_code"] for run in runs if "failed" not in run and "exit_code" in run]
    imported = sorted({name for run in runs for name in run.get("imported_while_timed", [])})
    parts = [
        f"FAILED in {len(failed)} of {len(runs)}: {failed[0].replace('|', ' ')[-160:]}" if failed else "",
        f"WRONG in {len(wrong)} of {len(runs)}: {', '.join(f'{rows:,}' for rows in wrong)} rows" if wrong else "",
        f"right, but its process ended with {ended[0]} in {len(ended)} of {len(runs)}" if ended else "",
        f"imported {', '.join(imported)} while timed" if imported else "",
    ]
    return "; ".join(part for part in parts if part) or "right"


def size(rows: int) -> str:
    return "SELECT 1" if rows == 1 else f"{rows:,} rows"


def plural(links: int) -> str:
    return "link" if links == 1 else "links"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A markdown table whose columns line up in a terminal too."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def page(document: dict[str, Any]) -> str:
    keys = ("setting", "links", "measure", "rows")
    by_cell: dict[tuple[Any, ...], list[Run]] = {}
    for run in document["runs"]:
        by_cell.setdefault(tuple(run[key] for key in keys), []).append(run)
    return f"""# Fetching results, beside the peers

Measured on {document["date"]} with `make bench BENCH=--save`: {document["machine"]}; {listed(document["versions"])}; medians of
{document["rounds"]} rounds. `../README.md` says how; `fetch.json` holds every run. Do not edit: this page is generated.

![Wall time by size of the result](fetch.svg)

## Targets

{target_table(document["runs"])}

## Figures

`ours / it` is the median over the rounds of our figure divided by theirs, right results only: below 1 is better for us.
""" + "".join(f"{cell_table(runs)}\n" for runs in by_cell.values())
