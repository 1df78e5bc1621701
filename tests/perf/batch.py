"""Batches beside a client that sends row by row, and beside a plain loop over the same file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from model_folders import write
from tests.perf import FOLDERS, ROOT, batch_loop, serving
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.usage import usage

ROWS = 1_000_000
FEW = 200_000
POISON = 1000
GROUP = 20_000
CORES = 2
PATIENCE = 600

OURS, LOOP, CLIENT = "loopwright", "plain loop", "client, row by row"
RATE = Quantity("rows a second, at work", "", 0)
# On a machine that has other work too, this says more.
CPU = Quantity("rows a CPU second, at work", "", 0)
WHOLE = Quantity("seconds of the whole driver, Ray's actors included", "s", 1)
PEAK = Quantity("peak memory of a worker process", "MiB", 0)
DRIVER = Quantity("peak memory of the driver", "MiB", 0)
DONE, LEFT = Quantity("shards done when killed", "", 0), Quantity("shards done after that", "", 0)


def run(repeats: int) -> Figures:
    """In turns: a batch and a loop over a million rows of 64 numbers."""
    speed = Figures(f"{ROWS:,} rows of 64 numbers in Parquet, {CORES} cores")
    with _world() as world:
        world.rows("many", ROWS)
        size = world.best_batch()
        for turn in range(repeats):
            for who in (OURS, LOOP) if turn % 2 == 0 else (LOOP, OURS):
                values = world.batch(f"out{turn}", size) if who == OURS else world.loop(size)
                print(f"  {who:<12}{values[RATE]:10.0f} rows/s", flush=True)
                speed.add(who, values)
        speed.add(CLIENT, {RATE: world.client()})
        ours = speed.median(OURS, RATE)
        speed.comparisons = [
            f"to the client: {ours / speed.median(CLIENT, RATE):.1f} (bar: 10)",
            f"to the loop, batches of {size}: {ours / speed.median(LOOP, RATE):.2f} (bar: 0.85);"
            f" by CPU time {speed.median(OURS, CPU) / speed.median(LOOP, CPU):.2f}",
        ]
    return speed


@contextmanager
def _world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as name:
        yield World(Path(name))


def memory() -> Figures:
    """Whether more rows take more memory."""
    figures = Figures("Memory, shards of 8 MiB")
    with _world() as world:
        for name, rows in (("few", FEW), ("many", ROWS)):
            world.rows(name, rows)
            values = world.batch(f"memory-{name}", 256, source=name, shard=8)
            figures.add(f"{rows:,} rows", {one: values[one] for one in (PEAK, DRIVER)})
    return figures


def killed() -> Figures:
    """Killed with SIGKILL at half of the shards, with bad rows among the good; then once more."""
    with _world() as world:
        return _killed(world)


def _killed(world: World) -> Figures:
    world.rows("poisoned", ROWS, POISON)
    config = world.config("killed", 256, source="poisoned", shard=8, errors=POISON)
    with world.job(config, "killed") as (process, reports):
        done = _half(process, reports)
        for pid in _family(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(60)
    with world.job(config, "killed") as (process, reports):
        assert process.wait(PATIENCE) == 0, reports.read_text()[-2000:]
        last = _reports(reports)[-1]["report"]
    assert last["shards"]["resumed"] >= done, last
    assert last["records"] == {"read": ROWS, "written": ROWS - POISON, "failed": POISON}, last
    world.check("killed", POISON)
    figures = Figures(f"Killed at half, {POISON:,} bad rows among {ROWS:,}")
    total, resumed = last["shards"]["total"], last["shards"]["resumed"]
    figures.add(OURS, {DONE: resumed, LEFT: total - resumed})
    figures.comparisons = [f"{done} of {total} shards were known as done when it was killed"]
    figures.comparisons += ["no row is missing or there twice; all bad rows are dead letters only"]
    return figures


class World:
    """Data, a model, and jobs over them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._claim = root / "pvc" / "data"
        self._digest = write(self._claim / "model", serving.digits(), signature=serving.SIGNATURE)
        self._model = str(self._claim / "model" / "model.onnx")

    def rows(self, name: str, rows: int, poison: int = 0) -> None:
        """A file of random rows; bad ones have NaN."""
        path = self._claim / name / "rows.parquet"
        if path.exists():
            return
        path.parent.mkdir(parents=True)
        random = np.random.default_rng(0)
        bad = set(np.linspace(0, rows - 1, poison, dtype=int).tolist()) if poison else set()
        writer = None
        for first in range(0, rows, GROUP):
            values = random.uniform(0, 16, (GROUP, 64)).astype(np.float32)
            for index in range(first, first + GROUP):
                if index in bad:
                    values[index - first, 3] = np.nan
            lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 64)
            table = pa.table({"id": np.arange(first, first + GROUP), "input": lists})
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()

    def best_batch(self) -> int:
        """For the loop; ours then has the same."""
        rows = np.random.default_rng(0).uniform(0, 16, (65536, 64)).astype(np.float32)
        return batch_loop.best(self._model, rows)

    def config(
        self, out: str, size: int, source: str = "many", shard: int = 32, errors: int = 0
    ) -> dict[str, Any]:
        """A job that keeps the rows' ids."""
        uri = f"pvc://data/{out}"
        spec = {
            "model": {"modelVersionRef": {"name": "digits-v1"}},
            "input": {"uri": f"pvc://data/{source}", "format": "parquet"}, "output": {"uri": uri},
            "batching": {"batchSize": size}, "resume": {"shardSizeMB": shard}, "numWorkers": 1,
            "dataProcessing": {"joinSource": "Input", "outputFilter": "$['id', 'output']"},
            "errors": {"maxFailedRecords": errors},
        }  # fmt: skip
        return {
            "kind": "BatchTransform", "name": "job", "namespace": "bench", "uid": out, "spec": spec,
            "image": "none", "outputUri": uri, "deadLetterUri": f"{uri}/_dead_letter",
            "model": {"uri": "pvc://data/model", "format": "onnx", "digest": self._digest},
            "procsPerWorker": CORES,
        }  # fmt: skip

    @contextmanager
    def job(
        self, config: dict[str, Any], name: str
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """A driver that runs, and the file of its reports."""
        file, reports = self._root / f"{name}.json", self._root / f"{name}.reports"
        file.write_text(json.dumps(config))
        reports.unlink(missing_ok=True)
        # Ray's processes import the code anew, and must find claims where this has them.
        (self._root / "sitecustomize.py").write_text(
            f"from loopwright.api import names\nnames.PVC_DIR = {str(self._root / 'pvc')!r}\n"
        )
        path = os.pathsep.join([str(self._root), *(str(ROOT / one) for one in (*FOLDERS, "."))])
        env = {
            **os.environ,
            "PYTHONPATH": path,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }
        words = ["-m", "tests.perf.batch_job", str(file), str(reports)]
        with (self._root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *words], env=env, cwd=ROOT, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            try:
                yield process, reports
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def batch(self, out: str, size: int, source: str = "many", shard: int = 32) -> Values:
        """One run."""
        begin = time.time()
        with self.job(self.config(out, size, source, shard), out) as (process, reports):
            watch = _Watch(process.pid)
            code = process.wait(PATIENCE)
            watch.end()
            assert code == 0, (self._root / f"{out}.log").read_text()[-3000:]
        found = _reports(reports)
        last, working = found[-1], next(r for r in found if r["report"]["records"].get("read"))
        # What had been done when it was first told of is not counted.
        rows = last["report"]["records"]["written"] - working["report"]["records"]["read"]
        return {
            RATE: rows / (last["at"] - working["at"]), CPU: rows / watch.cpu_since(working["at"]),
            WHOLE: last["at"] - begin, **watch.peaks,
        }  # fmt: skip

    def loop(self, size: int) -> Values:
        """The plain loop, once."""
        source = str(self._claim / "many" / "rows.parquet")
        program = str(ROOT / "tests/perf/batch_loop.py")
        processes = [
            subprocess.Popen(
                [sys.executable, program, self._model, source, str(self._root / f"loop{rank}"),
                 str(size), str(rank), str(CORES)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                # As the batch: Linux shares CPUs out by session.
                start_new_session=True,
            )
            for rank in range(CORES)
        ]  # fmt: skip
        for process in processes:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline().strip() == "ready"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        spans = [json.loads(process.communicate()[0]) for process in processes]
        seconds = max(s[1] for s in spans) - min(s[0] for s in spans)
        return {RATE: ROWS / seconds, CPU: ROWS / sum(s[2] for s in spans)}

    def client(self) -> float:
        """Rows a second through the model server, one a request, by four connections."""
        command = [
            sys.executable, "-m", "loopwright.serving", "--model_name=digits",
            f"--model_dir={self._claim / 'model'}", f"--http_port={serving.PORT}",
            f"--grpc_port={serving.GRPC_PORT}", "--drain_seconds=0",
        ]  # fmt: skip
        serving.bodies(self._root)
        body, address = serving.body_of(self._root, serving.V1), ("127.0.0.1", serving.PORT)
        with serving.server(command, self._root):
            while not serving.answers(serving.V1, body):
                time.sleep(0.05)
            serving.load(address, serving.V1, body, 1, serving.CONNECTIONS)
            return serving.load(address, serving.V1, body, 5, serving.CONNECTIONS)["rate"]

    def check(self, out: str, poison: int) -> None:
        """Each row is there once: good ones in the output, bad ones in the dead-letter file."""
        folder = self._claim / out
        parts = [pq.read_table(file, columns=["id"]) for file in sorted(folder.glob("part-*"))]
        good = pa.concat_tables(parts).column("id").to_numpy()
        lines = (folder / "_dead_letter" / "job.jsonl").read_text().splitlines()
        bad = [json.loads(line)["record"]["id"] for line in lines]
        assert len(bad) == poison
        assert np.array_equal(np.sort([*good, *bad]), np.arange(ROWS))
        assert (folder / "_SUCCESS").exists()


class _Watch:
    """The driver and all processes that do shards: their peak memory, and their CPU time so far."""

    def __init__(self, driver: int) -> None:
        self.peaks: Values = {PEAK: 0.0, DRIVER: 0.0}
        self._driver, self._stop = str(driver), threading.Event()
        self._used: dict[int, float] = {}
        self._marks: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> None:
        """Stops watching."""
        self._stop.set()
        self._thread.join()

    def cpu_since(self, moment: float) -> float:
        """CPU seconds used since then."""
        before = [used for at, used in self._marks if at <= moment]
        return self._marks[-1][1] - before[-1]

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for folder in Path("/proc").iterdir():
                try:
                    self._take(folder)
                except (OSError, AssertionError):
                    continue  # It has ended.
            self._marks.append((time.time(), sum(self._used.values())))

    def _take(self, process: Path) -> None:
        if process.name == self._driver:
            what = DRIVER
        elif process.name.isdigit() and b"ray::Map" in (process / "cmdline").read_bytes():
            what = PEAK
        else:
            return
        found = usage(int(process.name))
        self._used[int(process.name)] = found.cpu
        self.peaks[what] = max(self.peaks[what], found.peak)


def _reports(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def _family(pid: int) -> list[int]:
    """A process and all that it has started, also what those have."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
            except OSError:
                continue  # It has ended.
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _half(process: subprocess.Popen[bytes], reports: Path) -> int:
    """Waits until half of the shards are done; returns how many are."""
    while process.poll() is None:
        found = _reports(reports) if reports.exists() else []
        shards = found[-1]["report"].get("shards", {}) if found else {}
        if shards.get("total") and shards["done"] * 2 >= shards["total"]:
            return int(shards["done"])
        time.sleep(0.05)
    raise RuntimeError("the job ended before it was half done")
