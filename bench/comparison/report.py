"""Tables for people: on a terminal and as Markdown."""

import statistics
from dataclasses import dataclass

from comparison import limits, summary


def table(header, rows, left=1):
    """Markdown that reads well as it stands: the first `left` columns to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row):
        return "| " + " | ".join(f"{cell:{'<' if i < left else '>'}{widths[i]}}" for i, cell in enumerate(row)) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


def milliseconds(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def of_spread(spread, form):
    if spread is None:
        return "–"
    low, middle, high = (form(value) for value in (spread.low, spread.median, spread.high))
    return middle if low == high else f"{middle} ({low}–{high})"


def percent(value):
    return "–" if value is None else f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def mebibytes(value):
    return "–" if value is None else f"{value / 2**20:.0f}"


def cell(text):
    """On one line of a table."""
    return " ".join(text.split()).replace("|", "/")


@dataclass
class Comparison:
    """Everything that a comparison found out."""

    settings: dict  # model, batch … as in the JSON file
    machine: dict
    ceilings: dict  # empty where they could not be measured, with why in notes
    outcomes: list
    interrupted: bool
    notes: list  # what went wrong apart from single runs

    @property
    def net(self):
        return limits.network(self.settings["model"], self.settings["image_size"])

    def groups(self):
        return summary.by_group(self.outcomes)

    def rows(self, members):
        return summary.rows(members, self.net, self.settings["batch"], self.ceilings)


def free_name(folder, stem):
    """The stem, or with -2, -3 … where files of that name are there."""
    number, name = 1, stem
    while (folder / f"{name}.json").exists() or (folder / f"{name}.md").exists():
        number += 1
        name = f"{stem}-{number}"
    return name


HEADER = ("", "ms a step", "images/s", "× best peer", "of limit", "MiB", "start s")


def rows_of(row):
    name = f"**{row.label}**" if row.ours else row.label + (" (best peer)" if row.best_peer else "")
    start = "–" if row.startup is None else f"{row.startup:.1f}"
    if row.step is None:
        return (name, "none", "", "", "", "", start)
    speed = of_spread(row.speed, lambda value: f"{value:.2f}")
    if row.best_peer:
        speed = "1.00"
    return (name, of_spread(row.step, milliseconds), f"{row.images_per_second:.0f}", speed, percent(row.share),
            mebibytes(row.memory), start)


def main_table(comparison):
    """One table of everything, a part for each mode, precision and number of models."""
    lines = []
    for group, members in comparison.groups().items():
        lines.append((f"*{group.title()}*", "", "", "", "", "", ""))
        rows = comparison.rows(members)
        if not any(row.ours for row in rows):
            lines.append(("**ours**", "none", "", "", "", "", ""))
        lines += [rows_of(row) for row in rows]
    return table(HEADER, lines)


def missing(comparison):
    """A line for each reason why something has no figures, or not all of them."""
    reasons = {}
    for group, members in comparison.groups().items():
        for outcome in members:
            if outcome.failure or not outcome.runs:
                reason = cell(outcome.failure) or "not reached"
                reasons.setdefault((group.title(), reason), []).append(outcome.variant.label)
    return [f"{title}: {', '.join(labels)}: {reason}" for (title, reason), labels in reasons.items()]


def verdicts(comparison):
    """A line for each group: ours beside the best peer."""
    lines = []
    for group, members in comparison.groups().items():
        rows = comparison.rows(members)
        ours = min((row for row in rows if row.ours and row.step), key=lambda row: row.step.median, default=None)
        peer = next((row for row in rows if row.best_peer), None)
        if ours is None or peer is None:
            lines.append(f"{group.title()}: no ratio, for want of {'ours' if ours is None else 'a peer'}.")
            continue
        parts = [f"{of_spread(ours.speed, lambda value: f'{value:.2f}')} × the speed of the best peer ({peer.label})",
                 f"{ours.memory / peer.memory:.2f} × its memory"]
        if ours.startup and peer.startup:
            parts.append(f"{ours.startup / peer.startup:.2f} × its start-up")
        if ours.share:
            parts.append(f"{percent(ours.share)} of the machine's limit (the peer {percent(peer.share)})")
        lines.append(f"{group.title()}: " + ", ".join(parts) + ".")
    return lines


def op_tables(comparison):
    """Where the time of each of ours goes, as (title, table)."""
    result = []
    for group, members in comparison.groups().items():
        for outcome in members:
            works = limits.op_works(comparison.net, comparison.settings["batch"], group.mode, group.precision)
            ops = summary.op_rows(outcome, works, comparison.ceilings) if outcome.variant.ours else []
            if not ops:
                continue
            step = summary.step_time(outcome).median
            rows = [(op.op, op.calls, milliseconds(op.milliseconds), percent(op.share), percent(op.of_limit),
                     milliseconds(op.milliseconds * (1 - min(1, op.of_limit))) if op.of_limit is not None else "–")
                    for op in ops]
            together = sum(op.milliseconds for op in ops)
            rows.append(("all", "", milliseconds(together), percent(together / step) + " of the timed step", "", ""))
            result.append((f"{group.title()}, {outcome.variant.label}",
                           table(("op", "calls", "ms", "share", "of limit", "ms above limit"), rows)))
    return result


def not_to_our_credit(comparison):
    """What makes a win smaller than it looks, as far as this comparison shows it; sentences."""
    said = []
    settings, on_cpu = comparison.settings, comparison.settings["device"] == "cpu"
    if on_cpu:
        said.append("The peers' step leaves out what ours does beside the network: gather, normalisation and, in "
                    "training, augmentation; in evaluation losses and ranks. That is to our disadvantage.")
    else:
        said.append("Both steps gather, normalise and, in training, augment pictures that lie on the GPU; in "
                    "evaluation ours also makes losses and ranks. The peers' batch is the same one in every step, ours "
                    "goes through its pictures.")
    for group, members in comparison.groups().items():
        best = summary.best([member for member in members if not member.variant.ours])
        if best is None:
            continue
        title, time = group.title(), summary.step_time(best).median
        plain = summary.best([m for m in members if not m.variant.ours and m.variant.style == "eager" and
                              not m.variant.malloc and m.variant.layout == "nchw"])
        if plain and plain is not best:
            said.append(f"{title}: PyTorch as it comes (eager, NCHW, default malloc) takes "
                        f"{summary.step_time(plain).median / time:.2f} × the time of the best peer; a ratio to it "
                        "would be larger by so much and would say less of us.")
        runs = [run for run in best.runs if run]
        base = statistics.median(run["memory_at_start_bytes"] for run in runs)
        if on_cpu:
            loading = statistics.median(run["import_seconds"] for run in runs)
            said.append(f"{title}: of the best peer's memory {mebibytes(base)} MiB are Python and PyTorch's libraries "
                        f"alone, and of its start-up {loading:.1f} s are their loading. What it pays for is a "
                        "framework for any network; ours knows a few.")
        if group.models > 1:
            said.append(f"{title}: ours is computed, so many steps of one model.")
        failed = [member.variant.label for member in members if not member.variant.ours and member.failure]
        if failed:
            said.append(f"{title}: peers that did not run, and might have been faster: {', '.join(failed)}.")
    shares = [row.share for members in comparison.groups().values() for row in comparison.rows(members) if row.share]
    if any(share > 1 for share in shares):
        said.append("A share of the limit above 100 % means fewer operations than convolutions have by definition "
                    "(Winograd's algorithm), for us and for the peers alike, whose rounding differs.")
    if on_cpu and "amx_bf16" in comparison.machine.get("instructions", []):
        said.append("This processor has matrix units (AMX), which the limit of bf16 leaves out.")
    cores = comparison.machine.get("cores_usable") or 1
    if comparison.machine.get("load", [0])[0] > 0.25 * cores:
        said.append(f"Other programs ran: the load was {comparison.machine['load'][0]} at the start. Programs that "
                    "sleep while they wait suffer less from that than those that spin, and ours sleeps: only an idle "
                    "machine gives a fair ratio.")
    rounds = max((len(outcome.runs) for outcome in comparison.outcomes), default=0)
    if rounds < 3:
        said.append(f"There were {rounds} rounds, too few for a spread to mean much.")
    said.append(f"One network ({settings['model']}) with one batch ({settings['batch']}): other shapes have other "
                "ratios. Not tried: PyTorch's extensions, other frameworks, several processes.")
    return said


def facts(comparison):
    machine, peer = comparison.machine, comparison.machine.get("peer") or {}
    memory = machine.get("memory_bytes")
    lines = [("processor", machine["processor"]), ("instructions", ", ".join(machine["instructions"]) or "no AVX2")]
    if "gpu" in machine:
        lines.append(("GPU", machine["gpu"]))
    lines += [
        ("cores", f"{machine['cores_usable']} usable of {machine['cores']}, load {machine['load'][0]} at the start"),
        ("memory", memory and f"{memory / 2**30:.0f} GiB"),
        ("system", f"{machine['system']}, Linux {machine['kernel']}"),
        ("ours", f"commit {machine['commit']}, {machine['build_type']}, {machine['compiler']}"),
        ("PyTorch", peer and f"{peer['torch']}, torchvision {peer['torchvision']}, oneDNN {peer['onednn']}"),
    ]
    runs = [run for outcome in comparison.outcomes if outcome.variant.ours for run in outcome.runs if run]
    rates = [f"{precision} {rate / 1e9:.0f} GFLOP/s" for precision in limits.ELEMENT_BYTES
             if (rate := comparison.ceilings.get(f"{precision}_flops"))]
    if rates:
        copy = comparison.ceilings["bytes_per_second"] / 1e9
        lines.append(("limits, measured", f"{', '.join(rates)}; copy {copy:.0f} GB/s"))
    return "\n".join(f"- {key}: {value or 'not known'}" for key, value in lines)


def markdown(comparison, date, command):
    s, without = comparison.settings, missing(comparison)
    lines = [
        f"# {date}, {s['model']} beside PyTorch on {s['device'].upper()}",
        "",
        *(["**Interrupted: what there is so far.**", ""] if comparison.interrupted else []),
        f"`{command}`: {s['model']}, {comparison.net.image_size} px, batch {s['batch']}, {s['threads']} threads, up to "
        f"{s['rounds']} rounds of all in turn, each {s['steps']} × {s['group']} steps after {s['warmup']} × "
        f"{s['group']}. Medians of the rounds' medians (lowest–highest of the rounds). Best peer: the lowest median. "
        "Limit: the least time that the machine needs for the step's operations or bytes, everything fused. Start: a "
        "process that makes one step.",
        "",
        facts(comparison),
        "",
        *(f"- **{cell(note)}**" for note in comparison.notes),
        "",
        "## Ours beside the best peer",
        *(f"- {line}" for line in verdicts(comparison)),
        "",
        main_table(comparison),
        "",
        *(["Without figures, or without all of them:", *(f"- {line}" for line in without), ""] if without else []),
        "## Where a win is not to our credit",
        *(f"- {sentence}" for sentence in not_to_our_credit(comparison)),
    ]
    if ops := op_tables(comparison):
        lines += ["", "## Where our time goes",
                  "By op, medians of one profiled step a round. The limit of an op: its operands moved once, or its "
                  "operations, whichever takes longer at best; what lies above it is what can be gained."]
        for title, text in ops:
            lines += ["", f"### {title}", text]
    return "\n".join(lines) + "\n"


def json_of(comparison, date, command):
    """Everything, with the figures of every run."""
    outcomes = []
    for outcome in comparison.outcomes:
        variant = outcome.variant
        outcomes.append({
            "mode": variant.group.mode, "precision": variant.group.precision, "models": variant.group.models,
            "label": variant.label, "ours": variant.ours, "preload": variant.malloc, "startup": outcome.startup,
            "failure": outcome.failure or None, "runs": outcome.runs})
    groups = [{"title": group.title(), "mode": group.mode, "precision": group.precision, "models": group.models,
               "rows": [vars(row) | {"step": row.step and vars(row.step), "speed": row.speed and vars(row.speed)}
                        for row in comparison.rows(members)]}
              for group, members in comparison.groups().items()]
    return {"date": date, "command": command, "interrupted": comparison.interrupted, "notes": comparison.notes,
            "settings": comparison.settings, "machine": comparison.machine, "ceilings": comparison.ceilings,
            "groups": groups, "outcomes": outcomes}
