"""Runs programs, one after another, and keeps what they say."""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class Failed(Exception):
    """A program did not do what was asked of it; the text says why, in one line."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Progress:
    """A line on standard error for each of some runs; on a terminal with the time that the present one takes."""

    def __init__(self, total):
        self.total, self.done, self.begin = total, 0, time.monotonic()

    def start(self, what):
        self.what, self.started = what, time.monotonic()
        self.tick()

    def head(self):
        return f"[{self.done + 1}/{self.total}] {self.what}"

    def tick(self):
        if sys.stderr.isatty():
            seconds = time.monotonic() - self.started
            print(f"\r\033[K{self.head()} … {seconds:.0f} s", end="", file=sys.stderr, flush=True)

    def end(self, result):
        head = self.head()
        self.done += 1
        seconds = time.monotonic() - self.started
        left = (time.monotonic() - self.begin) / self.done * (self.total - self.done)
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        say(f"{clear}{head}: {result} ({seconds:.0f} s; about {left / 60:.0f} min left)")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "nothing was said"


def run_program(command, environment, limit, tick=lambda: None):
    """What it prints; raises Failed where it fails or takes more than `limit` seconds. Interrupted, it is ended too."""
    file = functools.partial(tempfile.TemporaryFile, "w+", errors="replace")
    with file() as out, file() as errors:
        try:
            # A group of its own: Ctrl-C is for us, and what a program starts ends with it.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment,
                                       start_new_session=True)
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from error
        begin = time.monotonic()
        try:
            while process.poll() is None:
                if time.monotonic() - begin > limit:
                    raise Failed(f"stopped after {limit} s")
                try:
                    process.wait(0.5)
                except subprocess.TimeoutExpired:
                    tick()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            why = last_line(errors.read())
            raise Failed(why if process.returncode > 0 else f"ended by signal {-process.returncode}: {why}")
        return out.read()


class Runner:
    """Runs variants with the options of bench/compare; `work` is a folder for files in passing."""

    def __init__(self, options, python, work):
        self.options, self.python, self.work = options, python, work
        self.engines = {}  # files of cuDNN's measured engines, by precision
        self.peer = Path(__file__).parent.parent / "peers" / "step_torch.py"

    def environment(self, variant):
        environment = dict(os.environ)
        # OpenMP's threads that spin while they wait made PyTorch's step many times slower beside one busy process.
        environment |= {"OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1",
                        "TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor" / variant.label)}
        if variant.malloc:
            # jemalloc gives memory back too eagerly by default; keeping it is what makes it fast here.
            environment |= {"LD_PRELOAD": variant.malloc, "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"}
        return environment

    def common(self, variant, steps, warmup, group):
        o, of_group = self.options, variant.group
        words = ["--device", o.device, "--model", o.model, "--batch", o.batch, "--threads", o.threads,
                 "--mode", of_group.mode, "--precision", of_group.precision,
                 "--steps", steps, "--warmup", warmup, "--group", group]
        if o.image_size:
            words += ["--image-size", o.image_size]
        return [str(word) for word in words]

    def run_ours(self, variant, words, tick, profile):
        file = self.work / "ours.json"
        command = [str(self.options.ours / "bench_step"), "--quiet", "--json", str(file), *words]
        command += ["--profile"] if profile else []
        command += ["--conv-algorithms", str(self.engines[variant.group.precision])] if variant.tuned else []
        run_program(command, self.environment(variant), self.options.limit, tick)
        result = json.loads(file.read_text())
        return {**result["bench"], "profile": result.get("profile"), "device": result["device"],
                "version": result["version"]}

    def run_peer(self, variant, words, tick):
        command = [str(self.python), str(self.peer), *words, "--style", variant.style, "--layout",
                   variant.layout, "--models", str(variant.group.models), "--arrangement", variant.arrangement]
        said = run_program(command, self.environment(variant), self.options.limit, tick)
        try:
            return json.loads(last_line(said))
        except ValueError as error:
            raise Failed(f"step_torch.py ends with no JSON: {last_line(said)}") from error

    def measure_engines(self, precision, tick):
        """Has cuDNN's engines measured, for ours."""
        o, file = self.options, self.work / f"engines-{precision}.json"
        command = [o.ours / "tune_convolutions", "--device", "cuda", "--quiet", "--precision", precision,
                   "--model", o.model, "--batch", o.batch, "--out", file]
        run_program([str(word) for word in command], dict(os.environ), o.limit, tick)
        self.engines[precision] = file

    def step(self, variant, tick=lambda: None):
        """One run: what the program says. Raises Failed."""
        o = self.options
        words = self.common(variant, o.steps, o.warmup, o.group)
        profile = o.device == "cpu" or (variant.group.mode == "train" and o.group >= 3)
        return self.run_ours(variant, words, tick, profile) if variant.ours else self.run_peer(variant, words, tick)

    def startup(self, variant, tick=lambda: None):
        """Seconds of a process that makes one step, seen from outside; what compiles has nothing compiled yet."""
        words = self.common(variant, 1, 0, 1)
        begin = time.monotonic()
        run = self.run_ours(variant, words, tick, False) if variant.ours else self.run_peer(variant, words, tick)
        return {"seconds": time.monotonic() - begin, "run": run}
