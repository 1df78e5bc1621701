"""Does a shard: reads, checks, predicts, writes, and tells what came of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from loopwright.api.batchconfig import BatchConfig
from loopwright.runtime.batch import images, predictor, readers, remote, watching
from loopwright.runtime.batch.paths import Filter
from loopwright.runtime.batch.plan import Shard
from loopwright.runtime.batch.predictor import Feeds, Predictor
from loopwright.runtime.batch.readers import Read
from loopwright.runtime.batch.records import (
    Array,
    Bad,
    Block,
    Columns,
    Letter,
    Objects,
    concatenated,
    halves,
    letter,
)
from loopwright.runtime.batch.staging import Done, Reason, Staging
from loopwright.runtime.batch.writers import Output, Results, Sink, Writer, ending, writer
from loopwright.runtime.errors import RunError, wrong
from loopwright.runtime.quality import Checker
from loopwright.runtime.storage import Folder, refusals
from loopwright.sketch import Layout, Sketch

# Dead letters that a job which has too many of them still shows.
MAX_SAMPLES: Final = 100

Tell = Callable[[dict[str, Any]], None]
Predicted = list[tuple[int, int, dict[str, Array]]]
Map = Callable[[Callable[[int], Predicted], Iterable[int]], Iterator[Predicted]]
"""As the builtin: results in order."""


class TooMany(Exception):
    """More bad records than the job may have, in this shard alone."""

    def __init__(self, letters: list[Letter], failed: int) -> None:
        super().__init__(f"{failed} bad records")
        self.letters, self.failed = letters, failed


def input_folder(config: BatchConfig) -> Folder:
    """Where the records are."""
    source = config.spec.input
    return Folder(source.uri, source.secret_ref.name if source.secret_ref else None)


def output_folder(config: BatchConfig, uri: str = "") -> Folder:
    """Where results go, or another folder with the same credentials."""
    secret = config.spec.output.secret_ref
    return Folder(uri or config.output_uri, secret.name if secret else None)


def limit(config: BatchConfig) -> int | None:
    """How many bad records there may be, whatever the share of all is."""
    errors = config.spec.errors
    if errors.max_failed_records is None and errors.max_failed_percent is None:
        return 0
    return errors.max_failed_records


class Worker:
    """Does shards in one process, one after the other."""

    def __init__(self, config: BatchConfig, threads: int = 1) -> None:
        self._config, self._spec, self._threads = config, config.spec, threads
        self._source, self._target = input_folder(config), output_folder(config)
        self._staging = Staging(self._target, config.uid)
        self._output = Output(config.spec)
        text = config.spec.data_processing.input_filter
        self._filter = (
            Filter(text, "dataProcessing.inputFilter") if text not in (None, "$") else None
        )
        self._predictor: Predictor | None = None
        self._layout: Layout | None = None
        several = remote.concurrent(config)
        self._map: Map = ThreadPoolExecutor(several).map if several > 1 else map

    def do(self, shard: Shard, tell: Tell) -> Done:
        """Does a shard; when this returns, it is done for good.

        Raises:
            RunError: it cannot be done.
            TooMany: more records are bad than may be.
        """
        if self._predictor is None:
            self._predictor = predictor.load(self._config, self._threads)
            self._layout = watching.layout(self._config, self._predictor.baseline)
        sketch = Sketch(self._layout) if self._layout is not None else None
        work = _Work(
            self._config, self._predictor, self._filter, self._output, self._staging, shard, sketch,
            self._map,
        )  # fmt: skip
        with refusals(self._target.uri):
            done = work.run(self._read(shard, self._predictor), self._target, tell)
        self._staging.finish(done)
        return done

    def _read(self, shard: Shard, predictor: Predictor) -> Iterator[Read]:
        if self._spec.input.format != "images":
            return readers.read(self._source, self._spec.input, shard)
        if self._filter is not None:
            raise wrong("FilterInvalid", "dataProcessing.inputFilter does not go with images")
        if self._spec.predictor is None and predictor.tensor is None:
            raise wrong("ModelInvalid", "images go into a model with one input; this has several")
        return images.read(self._source, shard, images.Layout(predictor.tensor))


class _Work:
    """One shard."""

    def __init__(
        self, config: BatchConfig, predictor: Predictor, filter: Filter | None, output: Output,
        staging: Staging, shard: Shard, sketch: Sketch | None, map: Map,
    ) -> None:  # fmt: skip
        self._config, self._spec = config, config.spec
        self._predictor, self._filter, self._output = predictor, filter, output
        self._staging, self._shard = staging, shard
        self._batch = config.spec.batching.batch_size
        self._limit = limit(config)
        self._done = Done(number=shard.number, model_digest=predictor.digest)
        self._letters: Sink | None = None
        self._samples: list[Letter] = []
        validation = config.spec.validation
        text = config.spec.input.format == "csv"
        self._checker = Checker(validation, text=text) if validation else None
        self._sketch, self._map = sketch, map

    def run(self, source: Iterator[Read], target: Folder, tell: Tell) -> Done:
        """All of it, up to what `Staging.finish` wants."""
        done, compression = self._done, self._spec.output.compression
        self._predictor.answered.clear()
        name = self._staging.fresh(done.number, ending(self._output.format, compression))
        sink = Sink(target.create(name))
        try:
            to = writer(sink, self._output, compression)
            size = 0
            for read in source:
                self._take(read, to, target)
                size += read.bytes
                tell({"read": done.read, "failed": done.failed, "bytes": size})
            to.close()
        finally:
            sink.close()
            if self._letters is not None:
                self._letters.close()
        if done.written:
            done.data, done.size, done.sha256 = name, sink.size, sink.digest
            target.sync(name)
        else:
            target.delete(name)
        done.answered = sorted(self._predictor.answered)
        if done.letters is not None:
            target.sync(done.letters)
        self._keep_checks(target)
        if self._sketch is not None:
            done.sketch = self._staging.fresh(done.number, "sketch")
            target.write(done.sketch, self._sketch.snapshot().to_bytes())
            target.sync(done.sketch)
        return done

    def _take(self, read: Read, to: Writer, target: Folder) -> None:
        letters = list(read.letters)
        block = read.block
        if block is not None and len(block):
            if self._checker is not None:
                data = block.table() if isinstance(block, Columns) else block.rows()
                self._checker.add(data, block.file, block.lines)
            refused: dict[int, Letter] = {}
            self._predict(block, to, refused)
            letters += [refused[index] for index in sorted(refused)]
            self._done.read += len(block)
            self._done.written += len(block) - len(refused)
        self._done.read += len(read.letters)
        if letters:
            letters.sort(key=lambda one: (one.file, one.line or 0))
            self._bad(letters, target)

    def _predict(self, block: Block, to: Writer, refused: dict[int, Letter]) -> None:
        def refuse(index: int, bad: Bad) -> None:
            refused[index] = letter(block, index, bad)

        kept, columns = [], []
        for first, last, feeds in self._feeds(block, refuse):
            for begin, end, found in self._mini_batches(first, last, feeds, refuse):
                kept.append(np.arange(begin, end))
                columns.append(found)
        if not kept:
            return
        index = np.concatenate(kept)
        joined = self._spec.data_processing.join_source == "Input"
        whole = len(index) == len(block)
        source = (block if whole else block.take(index.tolist())) if joined else None
        results = Results(source, concatenated(columns))
        halves(
            0, len(index), lambda a, b: to.write(results.part(a, b)),
            lambda at, bad: refuse(int(index[at]), bad),
        )  # fmt: skip

    def _feeds(
        self, block: Block, refuse: Callable[[int, Bad], object]
    ) -> list[tuple[int, int, Feeds]]:
        chosen = self._chosen(block)
        names = None if chosen is None else chosen.names()
        if isinstance(block, Columns) and names is not None:
            lacking = self._predictor.lacks(names)
            if lacking and self._spec.errors.on_schema_mismatch == "Fail":
                raise wrong("SchemaMismatch", f"{block.file}: {lacking}")
        if chosen is not None:
            ready = chosen
            return halves(
                0, len(block), lambda a, b: self._predictor.feeds(ready.part(a, b)), refuse
            )
        filter, rows = self._filter, block.rows()
        assert filter is not None

        def feeds(first: int, last: int) -> Feeds:
            values = [filter.named(row) for row in rows[first:last]]
            return self._predictor.feeds(Objects(block.file, block.lines[first:last], values))

        return halves(0, len(block), feeds, refuse)

    def _chosen(self, block: Block) -> Block | None:
        """The records that the model gets, unless each must be looked through."""
        if self._filter is None:
            return block
        if not isinstance(block, Columns):
            return None
        names = self._filter.columns(block.names())
        if names is None:
            return None
        chosen = block.select(names)
        one = self._predictor.tensor
        if self._filter.single and one is not None:
            # What the path finds is the row, whatever its column is called.
            table = chosen.columns.rename_columns([one.name])
            return Columns(chosen.file, chosen.lines, table, chosen.text)
        return chosen

    def _mini_batches(
        self, first: int, last: int, feeds: Feeds, refuse: Callable[[int, Bad], object]
    ) -> Iterator[tuple[int, int, dict[str, Array]]]:
        def run(begin: int, end: int) -> dict[str, Array]:
            part = {name: array[begin - first : end - first] for name, array in feeds.items()}
            found = self._predictor.run(part)
            if any(array.ndim == 0 or len(array) != end - begin for array in found.values()):
                shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
                raise wrong(
                    "ModelInvalid",
                    f"for {end - begin} records the model gave {shapes}; the first dimension must"
                    " be that of the batch",
                )
            if self._sketch is not None:
                self._sketch.add(part, found)
            return found

        def one(begin: int) -> Predicted:
            return halves(begin, min(last, begin + self._batch), run, refuse)

        # In order, however many are under way. All results of a block are held in any case.
        for found in self._map(one, range(first, last, self._batch)):
            yield from found

    def _bad(self, letters: list[Letter], target: Folder) -> None:
        done = self._done
        for one in letters:
            known = done.reasons.get(one.reason)
            if known is None:
                done.reasons[one.reason] = Reason(
                    count=1, message=one.message, file=one.file[-512:], line=one.line
                )
            else:
                known.count += 1
        done.failed += len(letters)
        if self._sketch is not None:
            self._sketch.refuse(len(letters))
        self._samples += letters[: MAX_SAMPLES - len(self._samples)]
        if self._limit is not None and done.failed > self._limit:
            raise TooMany(self._samples, done.failed)
        if self._letters is None:
            done.letters = self._staging.fresh(done.number, "letters.jsonl")
            self._letters = Sink(target.create(done.letters))
        self._letters.write(b"".join(one.line_of_json() for one in letters))

    def _keep_checks(self, target: Folder) -> None:
        if self._checker is None:
            return
        self._done.checks = self._checker.findings.model_dump()
        if hashes := self._checker.hashes():
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **hashes)
            self._done.hashes = self._staging.fresh(self._done.number, "npz")
            target.write(self._done.hashes, buffer.getvalue())
            target.sync(self._done.hashes)


def as_message(error: RunError) -> dict[str, Any]:
    """A failure as it crosses from a process to the driver."""
    return {
        "reason": error.reason, "message": error.message, "cause": str(error.cause),
        "permanent": error.permanent,
    }  # fmt: skip
