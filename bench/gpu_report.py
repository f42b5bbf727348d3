#!/usr/bin/env python3
"""Write what bench/run_on_gpu has found out: OUT.md for people, OUT.json with every figure."""

import argparse
import datetime
import json
import pathlib
import platform
import re
import statistics
import subprocess

MODELS = ("resnet32", "resnet56", "resnet34")
PRECISIONS = ("bf16", "tf32", "fp32")
# The checkpoint's accuracy on CIFAR-100's test set, and how far a precision may be from it, in points.
TOP1, TOP5 = 72.63, 91.94
TOLERANCES = {"fp32": 0.02, "tf32": 0.05, "bf16": 0.3}


def output(*command):
    """What a program prints, or None where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def number(value, digits=2):
    return "–" if value is None else f"{value:.{digits}f}"


def points(fraction):
    return "–" if fraction is None else f"{100 * fraction:.2f} %"


class Report:
    def __init__(self, args):
        self.args = args
        steps = pathlib.Path(args.steps)
        self.steps = [json.loads(line) for line in steps.read_text().splitlines()] if steps.exists() else []
        self.results = {}
        for file in sorted(pathlib.Path(args.json).glob("*.json")):
            try:
                self.results[file.stem] = json.loads(file.read_text())
            except ValueError:
                self.results[file.stem] = None

    def ran(self, part):
        return any(step["part"] == part and step["rc"] != 125 for step in self.steps)

    def result(self, name):
        """The JSON of a step that succeeded."""
        done = any(step["name"] == name and step["rc"] == 0 for step in self.steps)
        return self.results.get(name) if done else None

    def log(self, name):
        file = pathlib.Path(self.args.logs) / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def machine(self):
        query = "name,driver_version,memory.total,clocks.max.sm,power.limit"
        versions = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
        torch = output("python3", "-c", versions)
        gpu = output("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")
        nvcc = output("nvcc", "--version")
        commit = output("git", "-C", self.args.source, "rev-parse", "--short", "HEAD")
        devices = sorted({r["device"] for r in self.results.values() if isinstance(r, dict) and r.get("device")})
        cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
        return {
            "date": datetime.datetime.now().isoformat(timespec="minutes"),
            "gpu": gpu,
            "device": devices,
            "cpu": cpu.group(1) if cpu else None,
            "system": platform.platform(),
            "nvcc": nvcc.splitlines()[-1] if nvcc else None,
            "torch_torchvision": torch,
            "commit": commit,
            "programs": self.args.programs,
            "data": self.args.data,
        }

    def tests(self):
        rows = []
        for name in ("test_kernels", "test_engine", "test_models", "test_unlearning"):
            log = self.log(name)
            counts = re.findall(r"\[doctest\] test cases: *(.*)", log)
            summary = re.sub(r"\s*\|\s*", ", ", counts[-1]).strip() if counts else "no result"
            failures = []
            for text in log.split("TEST CASE:")[1:]:
                case = text.splitlines()[0].strip()
                if "ERROR: " in text and case not in failures:
                    failures.append(case)
            rows.append((name, summary, "; ".join(failures).replace("|", "/") or "–"))
        return table(("program", "test cases", "failures"), rows)

    def accuracy(self):
        rows = []
        for precision, tolerance in TOLERANCES.items():
            result = self.result(f"accuracy-{precision}")
            if not result:
                continue
            test = result["splits"]["test"]
            distance = max(abs(100 * test["top1"] - TOP1), abs(100 * test["top5"] - TOP5))
            verdict = "as expected" if distance <= tolerance + 1e-9 else "NOT AS EXPECTED"
            rows.append((precision, points(test["top1"]), points(test["top5"]), number(test["loss"], 4),
                         test["count"], f"{verdict} ({TOP1} / {TOP5} ± {tolerance})",
                         number(result.get("eval_seconds"))))
        return table(("precision", "top-1", "top-5", "loss", "samples", "verdict", "seconds"), rows)

    def bits(self):
        rows = []
        for precision in ("bf16", "fp32"):
            digests = {}
            for run in ("first", "second", "eager", "tuned-first", "tuned-second"):
                result = self.result(f"bits-{precision}-{run}")
                digests[run] = result["checkpoint"]["sha256"] if result else None
            found = list(digests.values())
            if None in found:
                verdict = "cannot be said"
            else:  # tuned engines may give others, but the same each time
                verdict = "the same" if len(set(found[:3])) == len(set(found[3:])) == 1 else "NOT THE SAME"
            rows.append((precision, *((digest or "–")[:16] for digest in found), verdict))
        return table(("precision", "first run", "second run", "--eager", "tuned, first", "tuned, second", "bits"), rows)

    def step_times(self):
        header = ("model", "precision", "ours, suggested engines", "ours, tuned", "PyTorch eager", "compile", "graph",
                  "ours best / best peer", "launches", "peak MiB")
        rows = []
        for model in MODELS:
            for precision in PRECISIONS:
                rounds = {}
                launches = memory = None
                for kind in ("step-suggested", "step-tuned", "peer-eager", "peer-compile", "peer-graph"):
                    for turn in (1, 2, 3):
                        result = self.result(f"{kind}-{model}-{precision}-{turn}")
                        if not result:
                            continue
                        if kind.startswith("peer"):
                            rounds.setdefault(kind, []).append(result["ms"])
                        else:
                            bench = result["bench"]
                            rounds.setdefault(kind, []).append(bench["step_ms"]["median"])
                            launches, memory = bench.get("launches"), bench.get("peak_memory_bytes")
                ms = {kind: statistics.median(times) for kind, times in rounds.items()}
                own = [time for kind, time in ms.items() if not kind.startswith("peer")]
                peers = [time for kind, time in ms.items() if kind.startswith("peer")]
                ratio = number(min(own) / min(peers)) if own and peers else "–"
                rows.append((model, precision, *(number(ms.get(kind), 3) for kind in (
                    "step-suggested", "step-tuned", "peer-eager", "peer-compile", "peer-graph")), ratio,
                    "–" if launches is None else launches, "–" if memory is None else f"{memory / 2**20:.0f}"))
        return "Milliseconds of a training step, batch 128; medians of the rounds.\n\n" + table(header, rows)

    def kernels(self):
        texts = []
        for precision in PRECISIONS:
            result = self.results.get(f"kernels-{precision}")
            if not result:
                continue
            tops = result["ceilings"]
            teraflops = ", ".join(f"{name} {number(tops[name + '_flops'] and tops[name + '_flops'] / 1e12, 1)}"
                                  for name in PRECISIONS)
            texts.append(
                f"### {precision}, batch {result['batch']}\nCeilings: copy {tops['copy_bytes_per_second'] / 1e9:.0f} "
                f"GB/s, add {tops['add_bytes_per_second'] / 1e9:.0f} GB/s; products in TFLOP/s: {teraflops}; a small "
                f"kernel {tops['launch_eager_us']:.2f} µs issued, {tops['launch_graph_us']:.2f} µs in a graph.\n")
            rows = []
            for entry in result["kernels"]:
                if "failure" in entry:
                    rows.append((entry["op"], entry["shape"], "failed: " + entry["failure"], "", "", "", "", ""))
                    continue
                share = entry["share"]
                rows.append((entry["op"], entry["shape"], number(entry["hot_us"]), number(entry["cold_us"]),
                             f"{entry['bytes_per_second'] / 1e9:.0f}",
                             number(entry["flops"] and entry["flops"] / 1e12),
                             "–" if share is None else f"{100 * share:.0f} %", f"{entry['launches']:.0f}"))
            texts.append(table(("kernel", "shape", "hot µs", "cold µs", "GB/s", "TFLOP/s", "share", "launches"), rows))
        return "\n".join(texts)

    def sisa(self, name="sisa"):
        texts = []
        train, unlearn = self.result(f"{name}-train"), self.result(f"{name}-unlearn")
        rows = []
        for title, result in (("trained", train), ("unlearned", self.result(f"{name}-accuracy-after"))):
            if result:
                shards = [points(shard["splits"]["test"]["top1"]) for shard in result["shards"]]
                rows.append((title, ", ".join(shards), points(result["majority_vote"]["test"]["top1"]),
                             points(result["mean_posterior"]["test"]["top1"])))
        texts.append(table(("top-1 on the test set", "shards", "majority vote", "mean posterior"), rows))
        rows = []
        for title in ("before", "after"):
            result = self.result(f"{name}-mia-{title}")
            if result:
                def mean(attack):
                    return number(attack["mean"], 4) if attack else "–"
                rows.append((title, ", ".join(mean(shard["mia"]) for shard in result["shards"]),
                             ", ".join(mean(shard["mia_own"]) for shard in result["shards"]),
                             number(result["mean"], 4), mean(result["ensemble"])))
        texts.append(table((f"MIA on F = {self.args.forget}", "shards on F", "shards on their part", "mean",
                            "ensemble"), rows))
        for title, result in (("Training", train), ("Unlearning", unlearn)):
            if result and "cost" in result:
                cost = result["cost"]
                texts.append(f"{title}: {cost['sample_passes']} sample passes, {cost['train_seconds']:.1f} s.")
        return "\n\n".join(texts)

    def sanitizer(self):
        rows = []
        for tool in ("memcheck", "racecheck"):
            log = self.log(f"sanitizer-{tool}")
            summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", log)
            reports = len(re.findall(r"^========= (?:Invalid|Error|Warning|Program hit)", log, re.MULTILINE))
            rows.append((tool, summary[-1] if summary else f"not finished, {reports} reports so far" if log else "–"))
        return table(("tool", "over test_kernels"), rows)

    def profile(self):
        kernels = self.log("profile-ncu").count("Duration")
        return f"ncu's figures of {kernels} kernels are in the logs (profile-ncu.log)."

    def overview(self):
        rows = []
        for step in self.steps:
            outcome = {0: "done", 125: "**not run**"}.get(step["rc"], f"**failed** ({step['rc']})")
            note = step["note"].replace("|", "/")
            rows.append((step["part"], step["name"], outcome, f"{step['seconds']:.1f}", note))
        return table(("part", "step", "outcome", "seconds", "why"), rows)

    def write(self):
        machine = self.machine()
        failed = [step["name"] for step in self.steps if step["rc"] not in (0, 125)]
        left_out = [step["name"] for step in self.steps if step["rc"] == 125]
        lines = [f"# {machine['date'][:10]}, GPU", ""]
        lines += [f"- {key.replace('_', ', ')}: {', '.join(value) if isinstance(value, list) else value or 'not found'}"
                  for key, value in machine.items()]
        lines += ["", f"Failed: {', '.join(failed) or 'nothing'}.", f"Not run: {', '.join(left_out) or 'nothing'}."]
        sections = (("tests", "Tests", self.tests), ("accuracy", "The real ResNet56 on CIFAR-100", self.accuracy),
                    ("bits", "The same bits", self.bits), ("step", "A training step beside PyTorch", self.step_times),
                    ("kernels", "Kernels", self.kernels), ("sisa", "SISA", self.sisa),
                    ("transfer", "SISA from other weights", lambda: self.sisa("transfer")),
                    ("sanitizer", "compute-sanitizer", self.sanitizer), ("profile", "Profile", self.profile))
        for part, title, text in sections:
            if self.ran(part) or (part == "step" and self.ran("compile")):
                try:
                    body = text()
                except (KeyError, TypeError, ValueError) as error:
                    body = f"The results cannot be read: {error!r}. The JSON file holds what there is."
                lines += ["", f"## {title}", body]
        lines += ["", "## Every step", self.overview(), ""]
        pathlib.Path(self.args.out + ".md").write_text("\n".join(lines))
        everything = {"machine": machine, "steps": self.steps, "results": self.results}
        pathlib.Path(self.args.out + ".json").write_text(json.dumps(everything, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("steps", "json", "logs", "programs", "source", "data", "forget", "out"):
        parser.add_argument(f"--{option}", required=True)
    Report(parser.parse_args()).write()


if __name__ == "__main__":
    main()
