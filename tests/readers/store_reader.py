#!/usr/bin/env python3
"""Reads a dccd store with pyarrow and duckdb, and says what they see: one JSON list, one element a series.

    store_reader.py DATA_PATH
"""

import json
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq


def describe(path):
    files = sorted(path.glob("*.parquet"))
    parquet = [pq.ParquetFile(file) for file in files]
    columns = [[field.name, str(field.type)] for field in parquet[0].schema_arrow]
    names = ", ".join(f"'{file}'" for file in files)
    connection = duckdb.connect()
    ask = lambda query: connection.execute(query.format(rows=f"read_parquet([{names}])")).fetchone()[0]
    kind = path.parent.name
    # A record is a row, but for books, where it is an event: all changes with one update id.
    records = "count(*)" if kind != "orderbook" else "count(distinct (epoch, update_id)) filter (not is_snapshot)"
    times = [t for file in parquet for t in file.read(columns=["TS"]).column("TS").to_pylist()]
    metadata = parquet[0].schema_arrow.metadata or {}
    return {
        "kind": kind,
        "pair": path.name,
        "columns": columns,
        "pyarrow_rows": sum(file.metadata.num_rows for file in parquet),
        "duckdb_rows": ask("select count(*) from {rows}"),
        "records": ask(f"select {records} from {{rows}}"),
        "sorted": times == sorted(times),
        "metadata": {k.decode(): v.decode() for k, v in metadata.items() if k.startswith(b"dccd.")},
    }


def main():
    root = Path(sys.argv[1])
    print(json.dumps([describe(p) for p in sorted(root.glob("[!.]*/*/*")) if p.is_dir()]))


if __name__ == "__main__":
    sys.exit(main())
