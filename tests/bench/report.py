# SPDX-License-Identifier: BSD-3-Clause
"""Results: how they are put together, printed, and what shape they must have.

A part gives any of these lists:
  comparisons  one workload, several peers, interleaved rounds
  costs        the same for the CPU time that the servers took
  series       one figure along a growing thing
  facts        single figures
All ratios are of speed: above 1 is faster than nbdkit file, also where times are measured.
"""

import statistics

from peers import TITLES

OURS = "ours"


def in_turn(names, round_number):
    """Who comes first changes from round to round."""
    start = round_number % len(names)
    return [*names[start:], *names[:start]]


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def _ratios(values, others, is_time):
    pairs = zip(others, values) if is_time else zip(values, others)
    return [above / below for above, below in pairs]


def comparison(name, title, unit, values, limit, aims=None, is_time=False):
    """`values`: for each peer one figure a round. `aims`: the least ratio of ours to a peer."""
    result = {"name": name, "title": title, "unit": unit, "is_time": is_time, "limit": limit,
              "peers": {}, "ours_to": {}}
    for peer, figures in values.items():
        result["peers"][peer] = {
            "values": figures,
            **spread(figures),
            "ratio": spread(_ratios(figures, values[limit], is_time)),
        }
        if peer != OURS:
            ratio = spread(_ratios(values[OURS], figures, is_time))
            aim = (aims or {}).get(peer)
            reached = None if aim is None else ratio["median"] >= aim
            result["ours_to"][peer] = {**ratio, "aim": aim, "reached": reached}
    return result


def series(name, title, x_label, y_label, points):
    """`points`: rows of (x, {curve: [figure a round]})."""
    curves = {}
    for x, figures in points:
        for curve, values in figures.items():
            curves.setdefault(curve, []).append({"x": x, "values": values, **spread(values)})
    return {"name": name, "title": title, "x_label": x_label, "y_label": y_label,
            "curves": curves}


def fact(name, title, unit, value, at_most=None):
    reached = None if at_most is None else value <= at_most
    return {"name": name, "title": title, "unit": unit, "value": value, "at_most": at_most,
            "reached": reached}


# ---- text ----------------------------------------------------------------------


def _figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(figures, form):
    """The median, and what it lies between if there was more than one round."""
    median, least, greatest = (form(figures[name]) for name in ("median", "least", "greatest"))
    return median if least == greatest else f"{median} ({least}..{greatest})"


def times(value, form=".2f"):
    """A ratio; a small one as a fraction."""
    return f"{value:{form}}" if value >= 0.1 else f"1/{1 / value:,.0f}"


def _ratio(ratio):
    return _spread(ratio, times)


def _table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append("  ".join([first, *others]).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _comparison_rows(comparisons):
    peers = []
    for result in comparisons:
        peers += [peer for peer in result["peers"] if peer not in peers]
    limit = comparisons[0]["limit"]
    others = [peer for peer in peers if peer != limit]
    aimed = [peer for peer in peers if any(
        result["ours_to"].get(peer, {}).get("aim") for result in comparisons)]
    rows = [["workload", TITLES.get(limit, limit), "", *(TITLES.get(peer, peer) for peer in others),
             *(f"aim: of {peer}" for peer in aimed)]]
    for result in comparisons:
        row = [result["title"], _figure(result["peers"][limit]["median"]), result["unit"]]
        for peer in others:
            row.append(_ratio(result["peers"][peer]["ratio"]) if peer in result["peers"] else "-")
        rows.append(row + [_aim(result["ours_to"].get(peer)) for peer in aimed])
    return rows


def _aim(to):
    if to is None or to["aim"] is None:
        return "-"
    said = "reached" if to["reached"] else "MISSED"
    return f"{to['aim']:g}: {times(to['median'])} {said}"


def _series_lines(result):
    names = list(result["curves"])
    rows = [[result["x_label"], *names]]
    xs = [point["x"] for point in result["curves"][names[0]]]
    for x in xs:
        row = [f"{x:,}"]
        for name in names:
            at = [point for point in result["curves"][name] if point["x"] == x]
            row.append(_spread(at[0], _figure) if at else "-")
        rows.append(row)
    return [f"{result['title']}: {result['y_label']}", *_table(rows), ""]


def _fact_rows(facts):
    rows = [["figure", "value", "unit", "aim"]]
    for fact_ in facts:
        aim = "" if fact_["at_most"] is None else f"at most {_figure(fact_['at_most'])}"
        if fact_["reached"] is False:
            aim += " MISSED"
        rows.append([fact_["title"], _figure(fact_["value"]), fact_["unit"], aim])
    return rows


def as_text(results):
    machine = results["machine"]
    lines = [
        f"unionfs benchmark, {machine['cores']} cores, {machine['memory_mib']} MiB, "
        f"kernel {machine['kernel']}",
        "Medians of the rounds, (least..greatest). Ratios are of speed, to the first peer's in the"
        " same round: above 1 is faster.",
    ]
    for name, reason in results["missing"].items():
        lines.append(f"MISSING: {name}: {reason}")
    for name, part in results["parts"].items():
        size = f"rounds: {part['rounds']}, seconds: {part['seconds']:.0f}"
        lines += ["", f"== {name}: {part['title']} ({size})", ""]
        for kind in ("skipped", "failed"):
            if kind in part:
                lines.append(f"{kind.upper()}: {part[kind]}")
        lines += [f"note: {note}" for note in part.get("notes", [])]
        if part.get("comparisons"):
            lines += _table(_comparison_rows(part["comparisons"])) + [""]
        if part.get("costs"):
            lines += ["CPU time of the server:", *_table(_comparison_rows(part["costs"])), ""]
        for result in part.get("series", []):
            lines += _series_lines(result)
        if part.get("facts"):
            lines += _table(_fact_rows(part["facts"]))
    return "\n".join(lines) + "\n"


# ---- shape ---------------------------------------------------------------------


def _is_figure(value):
    return isinstance(value, (int, float)) and value == value and 0 < value < float("inf")


def _check_comparison(result, rounds, complain):
    if OURS not in result["peers"] or result["limit"] not in result["peers"]:
        complain(f"{result['name']}: lacks ours or the limit")
    for peer, figures in result["peers"].items():
        if not figures["values"] or len(figures["values"]) > rounds:
            complain(f"{result['name']}: {peer} has {len(figures['values'])} rounds of {rounds}")
        if not all(map(_is_figure, [*figures["values"], *figures["ratio"].values()])):
            complain(f"{result['name']}: {peer} has a figure that is none: {figures}")
    if set(result["ours_to"]) != set(result["peers"]) - {OURS}:
        complain(f"{result['name']}: ours is not compared with each peer")


def complaints(results):
    """What is wrong with the shape of the results; an empty list if nothing is."""
    found = []
    for name, part in results["parts"].items():
        if "failed" in part:
            found.append(f"{name}: {part['failed']}")
        if "skipped" in part or "failed" in part:
            continue
        comparisons = [*part.get("comparisons", []), *part.get("costs", [])]
        lists = [comparisons, part.get("series", []), part.get("facts", [])]
        if not any(lists):
            found.append(f"{name}: no result")
        for result in lists[0]:
            _check_comparison(result, part["rounds"], found.append)
        for result in lists[1]:
            points = [point for curve in result["curves"].values() for point in curve]
            if not points or not all(_is_figure(point["median"]) for point in points):
                found.append(f"{result['name']}: a point without a figure")
        for result in lists[2]:
            if not isinstance(result["value"], (int, float)) or result["value"] < 0:
                found.append(f"{result['name']}: {result['value']} is no figure")
    return found
