"""What to see in each figure, in a sentence that is made from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loramix.evaluate.report.comparisons import common_means, listed
from loramix.evaluate.report.parts import COMPOSITES, duration, figure, known, short, size
from loramix.mix import BASE

Rows = Mapping[str, Mapping[str, Any]]
LOW = 0.5


def percent(share: float) -> str:
    """`99.4 %`, `83 %`."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _count(number: int, what: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _values(rows: Rows, system: str) -> dict[str, float]:
    """Scores of a system where more is better."""
    return {
        name: float(row[system])
        for name, row in rows.items()
        if known(row.get(system)) and row.get("higher_is_better", True)
    }


def _mean(values: Mapping[Any, float]) -> float:
    return sum(values.values()) / len(values)


def about_training(training: Rows) -> str:
    """How far the held-out loss came, or the loss where none was held out."""
    ends = {
        name: (run["dev_losses"][-1][1] if run.get("dev_losses") else run["losses"][-1])
        for name, run in training.items()
        if run.get("losses")
    }
    if not ends:
        sizes = [run["parameters"] for run in training.values() if known(run.get("parameters"))]
        said = f"{_count(len(training), 'skill')} beside the base"
        if not sizes:
            return f"{said}."
        return f"{said}, {max(sizes) / 1e6:.2f} million parameters at most in each."
    best, worst = min(ends, key=lambda n: ends[n]), max(ends, key=lambda n: ends[n])
    held = all(training[name].get("dev_losses") for name in ends)
    what = "on held-out examples" if held else "at the last step"
    if len(ends) == 1:
        return f"The loss {what} ends at {figure(ends[best])} nats a token."
    return (
        f"The loss {what} ends lowest for {best} ({figure(ends[best])} nats a token) and highest "
        f"for {worst} ({figure(ends[worst])})."
    )


def about_skills(rows: Rows) -> str:
    """Skills against the base, and what routing costs."""
    skill, base, routed = (_values(rows, system) for system in ("skill", "base", "routed"))
    said = []
    if skill:
        low, high = min(skill, key=lambda n: skill[n]), max(skill, key=lambda n: skill[n])
        if len(skill) > 1:
            said.append(
                f"With its adapter a skill scores from {short(skill[low])} ({low}) to "
                f"{short(skill[high])} ({high})"
            )
        else:
            said.append(f"With its adapter {low} scores {short(skill[low])}")
        both = [name for name in skill if name in base]
        if both:
            best = max(both, key=lambda n: base[n])
            said[-1] += f", the base alone at most {short(base[best])}"
            unclear = [name for name in both if not _clear(rows[name])]
            if unclear:
                said[-1] += f"; on {listed(unclear)} the gain is not clear of chance"
        said[-1] += "."
    both = [name for name in skill if name in routed]
    if both:
        lost = sum(skill[name] - routed[name] for name in both) / len(both)
        over = "" if set(both) == set(rows) else f" over {listed(both)}"
        what = f"{lost:.3f}" if lost > 0.0005 else "nothing"
        said.append(f"Leaving the choice to the gate costs {what} on average{over}.")
    return " ".join(said) or "Only the base was measured here."


def _clear(row: Mapping[str, Any]) -> bool:
    """Whether the skill is above the base: by the interval of their difference where that is
    known, else by whether their own, where they are, do not meet."""
    intervals = row.get("intervals") or {}
    if row["skill"] <= row["base"]:
        return False
    own = (row.get("systems") or {}).get(row.get("own_skill")) or {}
    if known((own.get("over_base") or {}).get("low")):
        return bool(own["over_base"]["low"] > 0)
    if "skill" not in intervals or "base" not in intervals:
        return True
    return bool(intervals["skill"][0] > intervals["base"][1])


def about_low(rows: Rows) -> str:
    """Says plainly where even the skill is weak."""
    low = {name: v for name, v in _values(rows, "skill").items() if v < LOW}
    if not low:
        return ""
    what = listed([f"{name} ({short(value)})" for name, value in low.items()])
    return (
        f"In absolute terms {what} {'is' if len(low) == 1 else 'are'} low: what an adapter can do "
        "is bounded by its base. Read these as gains over the base."
    )


def about_matrix(matrix: Mapping[str, Any]) -> str:
    """How specialised the skills are, and how near the routed whole comes."""
    own: dict[str, float] = {}
    other: dict[tuple[str, str], float] = {}
    wholes: dict[str, list[float | None]] = {}
    systems = list(matrix["systems"])
    for task, scores in zip(matrix["tasks"], matrix["scores"], strict=True):
        row = dict(zip(systems, scores, strict=True))
        if not known(row.get(task)) or not all(0 <= s <= 1 for s in scores if known(s)):
            continue
        own[task] = row[task]
        other |= {
            (name, task): row[name]
            for name in matrix["tasks"]
            if name != task and known(row.get(name))
        }
        for name in systems:
            if name not in (BASE, *matrix["tasks"]):
                wholes.setdefault(name, []).append(row[name] if known(row[name]) else None)
    if not own or not other:
        return f"{_count(len(matrix['tasks']), 'task')}, {_count(len(systems), 'system')}."
    name, task = max(other, key=lambda pair: other[pair])
    said = (
        f"On its own task a skill scores {short(_mean(own))} on average, on other tasks "
        f"{short(_mean(other))} and at most {short(other[name, task])} ({name} on {task})."
    )
    # a mean over other tasks than its rivals' would be no comparison
    full = {
        name: [score for score in scores if score is not None]
        for name, scores in wholes.items()
        if None not in scores
    }
    if full:
        means = {name: sum(scores) / len(scores) for name, scores in full.items()}
        best = max(means, key=lambda name: means[name])
        said += (
            f" Of the other systems that took {listed([*own])}, {best} does best, "
            f"{short(means[best])} on average."
        )
    return said


def about_routing(confusion: Mapping[str, Any]) -> str:
    """How many prompts arrive, and the commonest mistake."""
    names, counts = confusion["names"], confusion["counts"]
    total = sum(map(sum, counts))
    right = sum(counts[place][place] for place in range(len(names)))
    wrong = {
        (a, b): counts[y][x]
        for y, a in enumerate(names)
        for x, b in enumerate(names)
        if x != y and counts[y][x]
    }
    said = f"{right:,} of {total:,} prompts reach the right place"
    if not wrong:
        return f"{said}."
    a, b = max(wrong, key=lambda pair: wrong[pair])
    what = "that fit no skill" if a == BASE else f"of {a}"
    where = "left to the base" if b == BASE else f"sent to {b}"
    return f"{said}; the commonest mistake: {wrong[a, b]} prompts {what} were {where}."


def about_calibration(gate: Mapping[str, Any]) -> str:
    """How sure the gate is, and whether rightly."""
    curve = [point for point in gate["calibration"] if point["share"] > 0]
    if not curve:
        return "No prompt was routed."
    top = max(curve, key=lambda point: point["confidence"])
    sure = sum(point["confidence"] * point["share"] for point in curve)
    right = sum(point["accuracy"] * point["share"] for point in curve)
    if abs(sure - right) < 0.01:
        lean = "about as sure as it is right"
    else:
        lean = "surer than it is right" if sure > right else "less sure than it is right"
    return (
        f"For {percent(top['share'])} of the prompts its confidence is near "
        f"{top['confidence']:.2f}, and {percent(top['accuracy'])} of them are right; on the whole "
        f"it is {lean}."
    )


def about_heat(heat: Mapping[str, Any]) -> str:
    """What the gate gives a prompt's own skill, and where most of the rest goes."""
    own, others = {}, {}
    for name, scores in zip(heat["rows"], heat["scores"], strict=True):
        for column, score in zip(heat["columns"], scores, strict=True):
            if column == name:
                own[name] = score
            else:
                others[name, column] = score
    if not own:
        return ""
    least = min(own, key=lambda name: own[name])
    said = f"Of its own prompts' score each gets {own[least]:.2f} ({least}) or more in the mean"
    if others:
        name, column = max(others, key=lambda pair: others[pair])
        said += f"; most that goes elsewhere is {others[name, column]:.2f}, of {name} to {column}"
    return f"{said}."


def about_routers(routers: Rows) -> str:
    """The best one, and the next."""
    ranked = sorted(routers, key=lambda name: -routers[name]["accuracy"])
    best = ranked[0]
    said = f"Right most often is {best}, {percent(routers[best]['accuracy'])} of the prompts"
    if len(ranked) == 1:
        return f"{said}."
    return f"{said}; next is {ranked[1]}, {percent(routers[ranked[1]]['accuracy'])}."


def about_samples(samples: Sequence[Mapping[str, Any]]) -> str:
    """How many prompts got one skill, several, none."""
    sizes = [len(sample.get("mix") or {}) for sample in samples]
    counts = {
        "got one skill": sum(size == 1 for size in sizes),
        "a blend": sum(size > 1 for size in sizes),
        "the base alone": sum(size == 0 for size in sizes),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    if not counts["got one skill"]:
        parts[0] = parts[0].replace(" ", " got ", 1)
    return f"Of {len(samples)} prompts {listed(parts)}."


def about_blends(blends: Sequence[Mapping[str, Any]]) -> str:
    """Where the first mix of each kind, the gate's, leads."""
    won, lost = [], []
    for blend in blends:
        first, *others = blend["rows"]
        best = max(others, key=lambda row: row["mean"], default=None)
        if best is None or first["mean"] > best["mean"]:
            won.append(blend["name"])
        else:
            lost.append((blend["name"], first, best))
    said = [f"{blends[0]['rows'][0]['mix']} has the best mean in {len(won)} of {len(blends)} kinds"]
    if lost:
        name, first, best = max(lost, key=lambda entry: entry[2]["mean"] - entry[1]["mean"])
        said.append(
            f"; furthest behind on {name}, {short(first['mean'])} against "
            f"{short(best['mean'])} of {best['mix']}"
        )
    text = "".join(said) + "."
    return text[0].upper() + text[1:]


def about_composites(composites: Mapping[str, Any]) -> str:
    """The best of the five ways, and whether chance could have made it so."""
    scores = {name: composites[name] for name in COMPOSITES if known(composites.get(name))}
    if not scores:
        return "Nothing was measured."
    ranked = sorted(scores, key=lambda name: -scores[name])
    best = ranked[0]
    said = f"Over all kinds {best} does best, {short(scores[best])}"
    if len(ranked) == 1:
        return f"{said}."
    intervals, over = composites.get("intervals") or {}, composites.get("blend_over") or {}
    clear, paired = "", {best, ranked[1]} - {"blend"}
    if "blend" in (best, ranked[1]) and over.get(*paired):
        ends = over[paired.pop()]
        apart = ends["low"] > 0 if best == "blend" else ends["high"] < 0
        clear = "; over the same requests that is clear" if apart else "; that may be chance"
    elif best in intervals and ranked[1] in intervals:
        apart = intervals[best][0] > intervals[ranked[1]][1]
        clear = "; their intervals do not meet" if apart else "; their intervals overlap"
    said += f", before {ranked[1]} with {short(scores[ranked[1]])}{clear}"
    if "blend" in ranked[2:]:
        said += f". The gate's blend gets {short(scores['blend'])}"
    return f"{said}."


def largest_fall(stages: Sequence[Mapping[str, float]]) -> tuple[str, float, float, float]:
    """Of a task after others were learned: its name, the fall, from, to."""
    first: dict[str, float] = {}
    worst = ("", 0.0, 0.0, 0.0)
    for stage in stages:
        for name, score in stage.items():
            if name in first and first[name] - score > worst[1]:
                worst = (name, first[name] - score, first[name], score)
        first = {**stage, **first}
    return worst


def about_forgetting(forgetting: Mapping[str, Any]) -> str:
    """The largest fall of an earlier task in each of the two ways."""
    said = []
    for key, what in (("loramix", "With loramix"), ("one_adapter", "with one adapter")):
        name, fall, start, end = largest_fall(forgetting[key])
        said.append(
            f"{what} {name} falls from {short(start)} to {short(end)}"
            if fall > 0
            else f"{what} no earlier task loses anything (largest fall {short(fall)})"
        )
    if forgetting.get("examples"):
        said[-1] += f" (it learned at most {_count(forgetting['examples'], 'row')} of each task, "
        said[-1] += "the skills all of theirs: look at how a line goes on, not at its start)"
    return "; ".join(said) + "."


def about_retention(retention: Mapping[str, Any]) -> str:
    """Which skill a merge hurts most."""
    shares = {
        name: retention["after"][name] / before
        for name, before in retention["before"].items()
        if before > 0 and name in retention["after"]
    }
    if not shares:
        return "No skill had anything to keep."
    worst = min(shares, key=lambda name: shares[name])
    return (
        f"Least is kept of {worst}, {percent(shares[worst])} of its score; on average it is "
        f"{percent(_mean(shares))}."
    )


def about_storage(most: int, disk: tuple[float, float], memory: tuple[float, float] | None) -> str:
    """Both ways at `most` skills: (adapters, full models), in bytes."""
    said = (
        f"{most} skills would take {size(disk[0])} on disk as adapters beside one base and "
        f"{size(disk[1])} as full models, {_times(disk)} as much"
    )
    if memory is not None:
        said += f"; in memory {size(memory[0])} and {size(memory[1])}, {_times(memory)} as much"
    return f"{said}."


def _times(pair: tuple[float, float]) -> str:
    times = pair[1] / pair[0]
    return f"{times:.1f} times" if times < 10 else f"{times:.0f} times"


def about_time(phases: Mapping[str, float], seconds: float | None) -> str:
    """The longest phase."""
    total = seconds or sum(phases.values())
    longest = max(phases, key=lambda name: phases[name])
    share = phases[longest] / total if total else 0.0
    return f"Most of the time, {percent(share)} of {duration(total)}, goes to: {longest}."


def about_bars(bars: Sequence[Mapping[str, Any]]) -> str:
    """What is missed."""
    missed = [bar["name"] for bar in bars if not bar["met"]]
    if not missed:
        return f"All {len(bars)} are met."
    return f"{len(bars) - len(missed)} of {len(bars)} are met; missed: {'; '.join(missed)}."


def summary(result: Mapping[str, Any], rows: Rows, storage: str | None) -> list[str]:
    """Two to five sentences: what a reader should go away with."""
    said = []
    tasks, means = common_means(rows)
    if "skill" in means:
        several = len(tasks) > 1
        line = f"{len(tasks)} skills score" if several else "The skill scores"
        line += f" {short(means['skill'])}"
        if "base" in means:
            line += f" where the frozen base alone scores {short(means['base'])}"
        if "routed" in means:
            line += f"; with the gate choosing, {short(means['routed'])}"
        said.append(f"{line}{f': means over {listed(tasks)}' if several else ''}.")
    if composites := result.get("composites"):
        said.append(f"Two skills at once: {_lower(about_composites(composites))}")
    elif blends := result.get("blends"):
        said.append(f"Two skills at once: {_lower(about_blends(blends))}")
    if result.get("forgetting"):
        said.append(about_forgetting(result["forgetting"]))
    if storage:
        said.append(storage)
    missed = [bar["name"] for bar in result.get("bars") or [] if not bar["met"]]
    if missed:
        said.append(f"Missed: {'; '.join(missed)}.")
    return said


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
