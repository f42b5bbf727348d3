"""From runs to rows: medians over the rounds, ratios to the best peer, shares of the machine's limit."""

import statistics
from dataclasses import dataclass, field, replace

from comparison.limits import step_work
from comparison.variants import Variant


@dataclass
class Outcome:
    """All runs of a variant."""

    variant: object
    startup: dict | None = None  # {"seconds": …}: a process that makes one step
    runs: list = field(default_factory=list)  # of each round what the program says, or None where it was left out
    failure: str = ""  # why there are no runs, or no more

    def milliseconds(self):
        """By round, the median of its steps; None for a round without."""
        return [run and run["step_ms"]["median"] for run in self.runs]


@dataclass
class Spread:
    median: float
    low: float
    high: float


def spread(values):
    return Spread(statistics.median(values), min(values), max(values))


def step_time(outcome):
    """Milliseconds: the median of the rounds' medians, the fastest and the slowest of them; None without runs."""
    times = [time for time in outcome.milliseconds() if time is not None]
    return spread(times) if times else None


def best(outcomes):
    """The one with the lowest median, or None."""
    timed = [outcome for outcome in outcomes if step_time(outcome)]
    return min(timed, key=lambda outcome: step_time(outcome).median, default=None)


def speed(outcome, peer):
    """How many times the peer's speed: the ratio of the medians, and the lowest and highest of any round's."""
    rounds = [theirs / own for own, theirs in zip(outcome.milliseconds(), peer.milliseconds()) if own and theirs]
    ratio = step_time(peer).median / step_time(outcome).median
    # With rounds of which one was slow for both, the ratio of the medians may lie outside the ratios of the rounds.
    return Spread(ratio, min([ratio, *rounds]), max([ratio, *rounds]))


def share_of_limit(net, batch, variant, ceilings, milliseconds):
    """The least time that this machine needs for such a step, over the time taken; None without its limits."""
    group = variant.group
    at_best = step_work(net, batch, group.mode, group.precision).seconds(ceilings, group.precision)
    return at_best and group.models * 1e3 * at_best / milliseconds


def one_after_another(group, outcomes):
    """What several models take where ours trains one after another: so many steps of one."""
    of_one = replace(group, models=1)
    single = best([outcome for outcome in outcomes if outcome.variant.ours and outcome.variant.group == of_one])
    if single is None:
        return None
    outcome = Outcome(Variant(group, "ours, one after another", ours=True), single.startup)
    for run in single.runs:
        if run is None:
            outcome.runs.append(None)
            continue
        times = {key: group.models * value for key, value in run["step_ms"].items()}
        outcome.runs.append({"step_ms": times, "peak_memory_bytes": run["peak_memory_bytes"]})
    return outcome


def by_group(outcomes):
    """Outcomes by group in their order, ours first; several models of ours computed from one."""
    groups = {}
    for outcome in outcomes:
        groups.setdefault(outcome.variant.group, []).append(outcome)
    for group, members in groups.items():
        if group.models > 1 and (computed := one_after_another(group, outcomes)):
            members.insert(0, computed)
    return groups


@dataclass
class Row:
    label: str
    ours: bool
    best_peer: bool = False
    step: Spread | None = None  # milliseconds
    images_per_second: float | None = None
    speed: Spread | None = None  # times the best peer's
    share: float | None = None  # of the limit
    memory: int | None = None  # bytes at most
    startup: float | None = None  # seconds
    failure: str = ""


def rows(members, net, batch, ceilings):
    """Of one group: ours, then the peers, the fastest first; what failed last."""
    peer = best([outcome for outcome in members if not outcome.variant.ours])
    result = []
    for outcome in members:
        variant, step = outcome.variant, step_time(outcome)
        row = Row(variant.label, variant.ours, outcome is peer, step, failure=outcome.failure)
        if outcome.startup:
            row.startup = outcome.startup["seconds"]
        if step:
            row.images_per_second = 1e3 * batch * variant.group.models / step.median
            row.share = share_of_limit(net, batch, variant, ceilings, step.median)
            row.memory = max(run["peak_memory_bytes"] for run in outcome.runs if run)
            if peer:
                row.speed = speed(outcome, peer)
        result.append(row)
    return sorted(result, key=lambda row: (not row.ours, row.step is None, row.step.median if row.step else 0))


@dataclass
class OpRow:
    op: str
    calls: int
    milliseconds: float  # median over the rounds
    share: float  # of what the ops take together
    of_limit: float | None  # the least time that this machine needs for it, over the time taken


def op_rows(outcome, works, ceilings):
    """Where the time of one of ours goes, the largest first; empty where the program did not say."""
    profiles = [run["profile"] for run in outcome.runs if run and run.get("profile")]
    if not profiles:
        return []
    ops = {op for profile in profiles for op in profile}
    times = {op: statistics.median(profile[op]["milliseconds"] for profile in profiles if op in profile) for op in ops}
    calls = {op: max(profile[op]["ranges"] for profile in profiles if op in profile) for op in ops}
    total = sum(times.values())
    result = []
    for op, milliseconds in sorted(times.items(), key=lambda item: -item[1]):
        # The head is fp32 in every precision.
        precision = "fp32" if op.startswith("linear") else outcome.variant.group.precision
        at_best = works[op].seconds(ceilings, precision) if op in works else None
        of_limit = 1e3 * at_best / milliseconds if at_best is not None and milliseconds > 0 else None
        result.append(OpRow(op, calls[op], milliseconds, milliseconds / total if total else 0, of_limit))
    return result
