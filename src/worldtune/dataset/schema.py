"""Names, paths and column types of the LeRobot v3 layout, and our additions to it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000
VIDEO_FILE_MB = 200
IMAGE_PREFIX = "observation.images."
CAMERA_PREFIX = "camera."
CAPTIONS, FACTS = "captions/", "facts/"

INDEX_DTYPES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every LeRobot data file has."""
DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One numeric column of the data files."""

    dtype: str
    shape: tuple[int, ...]
    """Per-frame shape."""

    @property
    def arrow_type(self) -> pa.DataType:
        """Column type; a per-frame shape of (1,) is a plain number, as LeRobot has it."""
        result = pa.from_numpy_dtype(np.dtype(self.dtype))
        if self.shape == (1,):
            return result
        if len(self.shape) == 1:
            return pa.list_(result, self.shape[0])
        for _ in self.shape:
            result = pa.list_(result)
        return result

    def to_arrow(self, values: np.ndarray) -> pa.Array:
        """[T, *shape] as a column."""
        if self.shape == (1,):
            return pa.array(values.reshape(-1), type=self.arrow_type)
        if len(self.shape) == 1:
            return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), self.shape[0])
        return pa.array(values.tolist(), type=self.arrow_type)

    def info(self) -> dict[str, Any]:
        """Entry of info.json."""
        return {"dtype": self.dtype, "shape": list(self.shape), "names": None}


def depth_and_type(column_type: pa.DataType) -> tuple[int, pa.DataType]:
    """(levels of lists, type of the numbers inside)."""
    depth = 0
    while (
        pa.types.is_list(column_type) or pa.types.is_fixed_size_list(column_type) or pa.types.is_large_list(column_type)
    ):
        column_type, depth = column_type.value_type, depth + 1
    return depth, column_type


def fits(signal: Signal, column_type: pa.DataType) -> bool:
    """Whether a column can hold the signal."""
    depth, inner = depth_and_type(column_type)
    is_number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
    return is_number and (depth == len(signal.shape) or (signal.shape == (1,) and depth == 0))


def to_numpy(column: pa.ChunkedArray, signal: Signal, source: str) -> np.ndarray:
    """A column as [T, *shape]; missing numbers become NaN. ValueError naming the source when sizes differ."""
    array = column.combine_chunks()
    num_rows = len(array)
    while depth_and_type(array.type)[0]:
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    if values.size != num_rows * int(np.prod(signal.shape)):
        raise ValueError(f"{source}: {values.size} numbers in {num_rows} frames, wanted {list(signal.shape)} each")
    values = values.reshape(num_rows, *signal.shape)
    has_gaps = array.null_count > 0
    return values.astype(
        np.float32 if has_gaps and signal.dtype == "bool" else values.dtype if has_gaps else signal.dtype
    )


def open_parquet(path: Path) -> pq.ParquetFile:
    """ValueError when the file is absent or no parquet."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error})") from None


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """ValueError when the file is absent, no parquet or corrupt."""
    try:
        return open_parquet(path).read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: corrupt parquet file ({error})") from None


def read_rows(path: Path, columns: list[str], first_row: int, num_rows: int) -> pa.Table:
    """Some rows; only the row groups that hold them are read. ValueError as `read_parquet`."""
    file = open_parquet(path)
    ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)])
    first_group, last_group = np.searchsorted(ends, [first_row, first_row + num_rows - 1], side="right")
    before = 0 if first_group == 0 else int(ends[first_group - 1])
    try:
        table = file.read_row_groups(list(range(first_group, last_group + 1)), columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: corrupt parquet file ({error})") from None
    return table.slice(first_row - before, num_rows)


def tasks_table(texts: list[str]) -> pa.Table:
    """meta/tasks.parquet: task_index, and the text as the index that pandas restores."""
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {
        "name": "task_index",
        "field_name": "task_index",
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    labels = {
        "name": None,
        "field_name": None,
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": {"encoding": "UTF-8"},
    }
    description = {
        "index_columns": ["task"],
        "column_indexes": [labels],
        "columns": [number, index],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(range(len(texts)), pa.int64()), "task": pa.array(texts, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(description)})
