"""A callback that writes the metrics of each epoch to a file."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import time
from itertools import islice
from typing import IO, Any

import keras

from kerasfit import arguments
from kerasfit.errors import ArgumentError
from kerasfit.logs import Logs, flatten_metrics
from kerasfit.runtime.files import new_file, replace


class MetricsLog(keras.callbacks.Callback):
    """Writes the metrics of each epoch to a file, as CSV or as JSON lines.

    A row has the 1-based ``epoch``, ``seconds`` since training began, and the metrics; a metric named epoch
    or seconds becomes ``epoch_metric`` or ``seconds_metric``. A CSV file gets a new column for a metric that
    first appears in a later epoch, for example with validation in some epochs only. Values that were not
    measured are empty in CSV; non-finite values are null in JSON. The encoding is UTF-8. When a run is
    resumed, rows written after the checkpoint are removed and new rows are appended.

    Parameters
    ----------
    filename
        The file: JSON lines if it ends in .jsonl, .ndjson or .json, else CSV.
    append
        Whether to append to an existing file. If not, the row of the first epoch replaces its content.
    """

    def __init__(self, filename: str, append: bool = False):
        super().__init__()
        self.filename = arguments.path("filename", filename, "a file")
        self.append = arguments.flag("append", append)
        self.is_json = self.filename.suffix in (".jsonl", ".ndjson", ".json")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._began = time.monotonic()
        self._names: list[str] = []  # the file's columns
        self._rows = 0  # the number of its rows to keep
        try:
            with self._open("a"):  # fails now rather than after the first epoch
                pass
            if not self.filename.is_file():
                raise OSError(0, "It is not a regular file")
            if self.append:
                self._names, rows = self._read(None)
                self._rows = len(rows)
                if self._names and not {"epoch", "seconds"} <= set(self._names):
                    raise ArgumentError(
                        "filename",
                        f"The file {self.filename} is not a log to append to: its first line lacks "
                        "the columns epoch and seconds.",
                        "Give another file, or `append = FALSE` to replace it.",
                    )
        except OSError as error:
            raise ArgumentError(
                "filename", f"The file {self.filename} cannot be written: {error.strerror}."
            ) from error

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        row: dict[str, Any] = {"epoch": epoch + 1, "seconds": seconds}
        for name, value in flatten_metrics(logs or {}).items():
            row[f"{name}_metric" if name in row else name] = value
        new = [name for name in row if name not in self._names and not self.is_json]
        if new or not self._rows:
            self._rewrite([*self._names, *new])
        with self._open("a") as file:
            if self.is_json:
                row = {name: value if math.isfinite(value) else None for name, value in row.items()}
                file.write(json.dumps(row) + "\n")
            else:
                csv.DictWriter(file, self._names).writerow(row)
        self._rows += 1

    def get_state(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self._began, "names": self._names, "rows": self._rows}

    def set_state(self, state: dict[str, Any]) -> None:
        self._began = time.monotonic() - state["seconds"]
        self._rows = state["rows"]
        if self._rows:
            self._rewrite(state["names"])

    def _open(self, mode: str) -> IO[str]:
        return open(self.filename, mode, encoding="utf-8", newline="")

    def _read(self, count: int | None) -> tuple[list[str], list[Any]]:
        """Return the file's columns and its first ``count`` rows (None: all). A JSON row is its line."""
        with self._open("r") as file:
            if self.is_json:
                return [], list(islice(file, count))
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(islice(reader, count))

    def _rewrite(self, names: list[str]) -> None:
        """Rewrite the file with these columns and the rows to keep."""
        rows = self._read(self._rows)[1] if self.filename.exists() else []
        target = os.path.realpath(self.filename)
        with new_file(os.path.dirname(target)) as (binary, name):
            with open(binary.fileno(), "w", encoding="utf-8", newline="", closefd=False) as file:
                if self.is_json:
                    file.writelines(rows)
                else:
                    writer = csv.DictWriter(file, names, extrasaction="ignore")
                    writer.writeheader()
                    writer.writerows(rows)
            binary.close()
            with contextlib.suppress(OSError):  # no file yet, or a file system without modes
                shutil.copymode(target, name)
            replace(name, target)
        self._names, self._rows = names, len(rows)
