"""Compare kerasfit with Keras on random models, losses, metrics, optimizers, options and data.

    python tests/soak/differential.py --backend jax --cases 300 --seed 1

trains each case with Keras's ``fit()``, ``evaluate()`` and ``predict()`` and with kerasfit's, from the same
weights, and compares all results and the state of the models. The outcome of a case is one of these:

- same: equal within a tolerance;
- rounding: not equal, but Keras itself differs as much if weights and inputs differ in their last bits;
- refused: Keras raises an error; the behaviour of kerasfit is counted but not judged;
- stricter: kerasfit raises an error by a documented rule (``STRICTER``), and Keras trains;
- FAULT: anything else, including a process that dies or hangs.

A case depends only on its seed. A fault is printed with the command that runs it again; with ``--smaller``,
this command looks for fewer choices that still cause it. ``--fix "optimizer=SGD"`` fixes a choice.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

HERE = Path(__file__).parent
BACKENDS = ("torch", "jax", "tensorflow")
CASES_OF_A_PROCESS = 60  # a process keeps everything that is compiled in memory
SECONDS_OF_A_CASE = 600
GOOD = ("same", "rounding", "refused by both", "refused by Keras alone", "stricter")


class Worker:
    """A process that runs cases on one backend, one after the other."""

    def __init__(self, backend: str):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "differential_case.py")],
            env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, seed: int, fixed: dict[str, str], smaller: bool) -> dict[str, Any]:
        """Run a case and return its outcome, description and details."""
        try:
            self.process.stdin.write(json.dumps([seed, fixed, smaller]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"outcome": "FAULT", "details": f"the process died: {self.last_output()}"}
        limit = SECONDS_OF_A_CASE * (20 if smaller else 1)
        if not select.select([self.process.stdout], [], [], limit)[0]:
            return {"outcome": "FAULT", "details": f"no answer in {limit} seconds"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"outcome": "FAULT", "details": f"died: {self.last_output()}"}

    def last_output(self) -> str:
        return f"status {self.process.wait()}: {self.process.stderr.read()[-2000:]}"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def results(
    backend: str, seeds: range, fixed: dict[str, str], smaller: bool, jobs: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the result of the case of each seed, with several processes at a time."""
    done: Queue = Queue()

    def work(seeds: range) -> None:
        for answer in results_of_one(backend, seeds, fixed, smaller):
            done.put(answer)

    with ThreadPoolExecutor(jobs) as pool:
        working = [pool.submit(work, seeds[number::jobs]) for number in range(jobs)]
        for _ in seeds:
            while done.empty() and not all(w.done() for w in working):
                time.sleep(0.1)
            if done.empty():
                break
            yield done.get()
    for w in working:
        w.result()


def results_of_one(
    backend: str, seeds: range, fixed: dict[str, str], smaller: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the result of the case of each seed, with one process at a time."""
    worker, done = None, 0
    for seed in seeds:
        if worker is None or done == CASES_OF_A_PROCESS or worker.process.poll() is not None:
            if worker:
                worker.end()
            worker, done = Worker(backend), 0
        result = worker.run(seed, fixed, smaller)
        done += 1
        if "died" in result.get("details", "") or "no answer" in result.get("details", ""):
            worker.end()
        yield seed, result
    if worker:
        worker.end()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", nargs="*", default=BACKENDS)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first case; the next ones follow")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--fix", action="append", default=[], metavar="CHOICE=OPTION")
    parser.add_argument(
        "--smaller", action="store_true", help="look for the fewest choices that give a fault"
    )
    parser.add_argument("--verbose", action="store_true", help="print each case")
    chosen = parser.parse_args()
    fixed = dict(choice.split("=", 1) for choice in chosen.fix)
    failed = False
    for backend in chosen.backend:
        began, outcomes, layers = time.monotonic(), Counter(), Counter()
        for seed, result in results(
            backend, range(chosen.seed, chosen.seed + chosen.cases), fixed, chosen.smaller, chosen.jobs
        ):
            outcomes[result["outcome"]] += 1
            layers.update(set(result.get("layers", [])))
            if sys.stderr.isatty() or seed % 10 == 0:
                print(f"{backend} {seed}", end="\r", file=sys.stderr, flush=True)
            if chosen.verbose or result["outcome"] not in GOOD:
                report(backend, seed, result, chosen.fix)
        failed |= any(outcome not in GOOD for outcome in outcomes)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        print(
            f"{backend}: {sum(outcomes.values())} cases in {(time.monotonic() - began) / 60:.1f} minutes: "
            f"{counts}; {len(layers)} kinds of layers",
            flush=True,
        )
    sys.exit(failed)


def report(backend: str, seed: int, result: dict[str, Any], fixed: list[str]) -> None:
    again = "".join(f' --fix "{choice}"' for choice in fixed)
    print(
        f"{result['outcome']}: python tests/soak/differential.py --backend {backend} --cases 1 --seed {seed}"
        f"{again}\n  {result.get('seconds', 0):.1f} s: {result.get('description', '')}\n"
        f"  {result.get('details', '')}",
        flush=True,
    )


if __name__ == "__main__":
    main()
