"""The tables of a run of benchmarks/gpu.sh, as Markdown.

    python -m benchmarks.gpu.summary FOLDER

The exit code is 1 if a check of the first part is not ok.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.provenance import markdown

__all__ = ["main", "page"]

Row = dict[str, Any]


def rows(folder: Path, part: str) -> list[Row]:
    """The rows of a part; none if it did not run."""
    file = folder / f"{part}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def page(folder: Path) -> str:
    """All tables of the results in `folder`."""
    parts = [_environment(folder), _checks(folder), _speed(folder), _options(folder), _table1(folder)]
    return "\n\n".join(part for part in parts if part)


def failures(folder: Path) -> list[Row]:
    """The checks that are not ok."""
    return [row for row in rows(folder, "checks") if row.get("ok") is False]


def _environment(folder: Path) -> str:
    found = [row for row in rows(folder, "checks") if row["what"] == "environment"]
    known = {name: value for row in found for name, value in row.items()}
    names = ("gpu", "torch", "cuda", "cudnn", "python")
    start = rows(folder, "start")
    facts = [f"{name} {known[name]}" for name in names if known.get(name)]
    return ", ".join(facts + [f"{name} {value}" for row in start for name, value in row.items()])


def _checks(folder: Path) -> str:
    table = []
    for row in rows(folder, "checks"):
        if row["what"] != "environment":
            verdict = str(row.get("skipped", "?"))
            if "ok" in row:
                verdict = "ok" if row["ok"] else "NOT OK"
            which = ", ".join(str(row[name]) for name in ("network", "precision", "variant") if name in row)
            shown = row.get("error", "") if row.get("ok") is False else row.get("apart", "")
            table.append((row["what"], which, verdict, str(shown)[:100]))
    return markdown(("check", "", "", "apart"), table) if table else ""


def _speed(folder: Path) -> str:
    found = [row for row in rows(folder, "speed") if "batch" in row and row["what"] != "option"]
    keys = list(dict.fromkeys((row["network"], row["batch"], row["precision"]) for row in found))
    table = []
    for key in keys:
        own = {r["what"]: r for r in found if (r["network"], r["batch"], r["precision"]) == key}
        rate = {what: row.get("images/s") for what, row in own.items()}
        graph, copied = rate.get("netslim"), rate.get("copied loop")
        network, batch, precision = key
        goal = own.get("netslim", {}).get("goal")
        used = own.get("netslim", {}).get("precision used", precision)
        share = own.get("netslim", {}).get("share of peak")
        table.append(
            (
                f"{network}, {batch}",
                precision if used == precision else f"{precision}: {used}",
                _number(copied),
                _number(rate.get("netslim, no graph")),
                _number(graph),
                f"{graph / copied:.1f}x" if graph and copied else "",
                _number(goal),
                f"{100 * share:.1f} %" if share else "",
            )
        )
    header = ("network, batch", "precision", "copied loop", "no graph", "netslim")
    return markdown((*header, "faster", "goal", "of the peak"), table) if table else ""


def _options(folder: Path) -> str:
    plain = {
        (row["network"], row["batch"]): row["images/s"]
        for row in rows(folder, "speed")
        if row["what"] == "netslim" and row.get("images/s") and row["precision"] == "bf16"
    }
    table = []
    for row in rows(folder, "speed"):
        if row["what"] == "option":
            base, rate = plain.get((row["network"], row["batch"])), row.get("images/s")
            change = f"{100 * (rate / base - 1):+.1f} %" if base and rate else ""
            table.append((f"{row['network']}, {row['batch']}", row["option"], _number(rate), change))
    return markdown(("network, batch", "option", "images/s", "change"), table) if table else ""


def _table1(folder: Path) -> str:
    table = []
    for file in sorted(folder.glob("table1-*.jsonl")):
        for row in rows(folder, file.stem):
            if "note" not in row:
                shown = [row.get(name, row.get("skipped", "") if name == "error" else "") for name in
                         ("percent", "error", "epochs", "s per epoch", "params", "flops")]  # fmt: skip
                table.append((file.stem.removeprefix("table1-"), row["what"], *map(_number, shown)))
    header = ("network", "stage", "pruned", "error %", "epochs", "s per epoch", "parameters", "FLOPs")
    return markdown(header, table) if table else ""


def _number(value: object) -> str:
    if isinstance(value, int) and value >= 1000:
        return f"{value:,}"
    return "" if value is None else str(value)


def main(folder: Path) -> int:
    print(page(folder))
    for row in failures(folder):
        print(
            f"\nNOT OK: {row['what']}: {row.get('error', row)}\n{row.get('traceback', '')}", file=sys.stderr
        )
    return bool(failures(folder))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
