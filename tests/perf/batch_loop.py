"""A plain onnxruntime loop over a Parquet file, as one would write it; one process a core."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

# Rows that are read and written at once; small row groups would make the loop slow.
READ = 8192


def session(model: str) -> onnxruntime.InferenceSession:
    """With one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def best(model: str, rows: np.ndarray) -> int:
    """The batch size with the highest rate."""
    run, rates = session(model).run, {}
    for size in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
        run(None, {"input": rows[:size]})
        begin = time.perf_counter()
        for first in range(0, len(rows), size):
            run(None, {"input": rows[first : first + size]})
        rates[size] = len(rows) / (time.perf_counter() - begin)
    return max(rates, key=lambda size: rates[size])


def loop(model: str, source: str, target: str, size: int, rank: int, count: int) -> None:
    """Reads, predicts and writes every `count`-th row group."""
    file, run, writer = pq.ParquetFile(source), session(model).run, None
    groups = list(range(rank, file.num_row_groups, count))
    for batch in file.iter_batches(READ, row_groups=groups):
        rows = batch.column("input").flatten().to_numpy().reshape(batch.num_rows, -1)
        starts = range(0, len(rows), size)
        found = np.concatenate([run(None, {"input": rows[at : at + size]})[0] for at in starts])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])
        table = pa.table({"id": batch.column("id"), "output": lists})
        # As ours: looking for repeated numbers takes longer than predicting.
        writer = writer or pq.ParquetWriter(target, table.schema, use_dictionary=["id"])
        writer.write_table(table)
    if writer is not None:
        writer.close()


def main() -> None:
    """Waits for a line, so that all processes begin at once; prints how long it took."""
    model, source, target, size, rank, count = sys.argv[1:]
    session(model)
    print("ready", flush=True)
    sys.stdin.readline()
    begin, cpu = time.time(), time.process_time()
    loop(model, source, target, int(size), int(rank), int(count))
    print(json.dumps([begin, time.time(), time.process_time() - cpu]), flush=True)


if __name__ == "__main__":
    main()
