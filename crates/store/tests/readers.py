"""Reads a store with pyarrow, DuckDB, Polars, pandas and dccd 3.x where they are installed, and checks what a reader relies on.

usage: readers.py DATA_PATH
The store holds the series that tests/readers.rs writes. Prints one line per reader; fails on the first difference.
"""

import glob
import json
import sys

EXPECTED = {
    "trades": [("TS", "int64"), ("price", "double"), ("amount", "double"), ("side", "string"), ("tid", "string"), ("ts_recv", "int64")],
    "quotes": [("TS", "int64"), ("bid", "double"), ("bid_amount", "double"), ("ask", "double"), ("ask_amount", "double"), ("ts_recv", "int64")],
    "orderbook": [
        ("TS", "int64"), ("side", "string"), ("price", "double"), ("amount", "double"), ("count", "int64"),
        ("is_snapshot", "bool"), ("ts_recv", "int64"), ("update_id", "int64"), ("epoch", "int32"),
    ],
}
NULLABLE = {"side", "tid", "ts_recv", "count", "update_id"}
FIRST = 1_723_075_200_000_000_000
DAY = 86_400_000_000_000


def files(root, kind):
    found = sorted(glob.glob(f"{root}/binance/{kind}/BTC-USDT/*.parquet"))
    assert len(found) == 2, found
    return found


def with_pyarrow(root):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for kind, columns in EXPECTED.items():
        for path in files(root, kind):
            schema = pq.read_schema(path)
            assert [(f.name, str(f.type)) for f in schema] == columns, schema
            for field in schema:
                assert field.nullable == (field.name in NULLABLE and not (kind == "orderbook" and field.name == "side")), field
            metadata = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items()}
            assert metadata["dccd.exchange"] == "binance" and metadata["dccd.symbol"] == "BTC/USDT", metadata
            assert metadata["dccd.series"] == f"binance/BTC/USDT/{'book' if kind == 'orderbook' else kind}", metadata
            assert metadata["dccd.version"], metadata
            for gap in json.loads(metadata["dccd.gaps"]):
                assert {"from", "to", "reason", "repaired"} <= gap.keys(), gap
    trades = pa.concat_tables(pq.read_table(f) for f in files(root, "trades")).to_pydict()
    assert trades["TS"] == [FIRST + DAY // 2 + n * 100_000_000_000 for n in range(700)]
    assert trades["tid"] == [str(3_735_683_259 + n) for n in range(700)]
    assert trades["price"] == [float(f"{61837.63 + n / 100:.2f}") for n in range(700)]
    assert trades["side"] == [["buy", "sell", None][n % 3] for n in range(700)]
    assert trades["ts_recv"] == [None if n % 5 == 0 else ts + 1 for n, ts in enumerate(trades["TS"])]
    gaps = json.loads(pq.read_metadata(files(root, "trades")[0]).metadata[b"dccd.gaps"])
    assert [g["reason"] for g in gaps] == ["disconnected"] and gaps[0]["repaired"] is True, gaps
    return pa.__version__


def with_duckdb(root):
    import duckdb

    connection = duckdb.connect()

    def row_of(sql):
        return connection.execute(sql).fetchall()[0]

    for kind, columns in EXPECTED.items():
        sql = f"select * from read_parquet('{root}/binance/{kind}/BTC-USDT/*.parquet')"
        assert [c[0] for c in connection.execute(sql).description] == [c for c, _ in columns]
    trades = f"read_parquet('{root}/binance/trades/BTC-USDT/*.parquet')"
    row = row_of(f"select count(*), count(distinct tid), min(TS), count(side), count(ts_recv), sum(amount) from {trades}")
    assert row[:5] == (700, 700, FIRST + DAY // 2, 467, 560) and abs(row[5] - 700 * 0.001) < 1e-9, row
    # Filters are pushed down to the statistics of TS.
    row = row_of(f"select count(*) from {trades} where TS >= {FIRST + DAY}")
    assert row == (268,), row
    book = f"read_parquet('{root}/binance/orderbook/BTC-USDT/*.parquet')"
    row = row_of(f"select count(*), count_if(is_snapshot), max(epoch), count(update_id), count('count') from {book}")
    assert row == (1400, 2, 1, 1400, 1400), row
    return duckdb.__version__


def with_polars(root):
    import polars as pl

    trades = pl.scan_parquet(f"{root}/binance/trades/BTC-USDT/*.parquet").collect()
    assert trades.height == 700 and trades["TS"].is_sorted() and trades["tid"].n_unique() == 700
    assert trades["side"].null_count() == 233
    book = pl.read_parquet(f"{root}/binance/orderbook/BTC-USDT/*.parquet")
    assert book.schema["epoch"] == pl.Int32 and book.schema["is_snapshot"] == pl.Boolean
    assert book["side"].unique().sort().to_list() == ["ask", "bid"]
    quotes = pl.read_parquet(f"{root}/binance/quotes/BTC-USDT/*.parquet")
    assert quotes.filter(pl.col("bid") >= pl.col("ask")).height == 0
    assert (quotes["TS"] == quotes["ts_recv"]).all()
    return pl.__version__


def with_dccd(root):
    from dccd.domain.dataset import DatasetId
    from dccd.domain.symbol import Symbol
    from dccd.domain.types import DataType
    from dccd.storage.parquet import ParquetStore

    from importlib.metadata import version

    store = ParquetStore(root)
    for data_type, rows in ((DataType.TRADES, 700), (DataType.ORDERBOOK, 1400)):
        series = DatasetId(exchange="binance", symbol=Symbol(base="BTC", quote="USDT"), data_type=data_type)
        frame = store.load(series)
        assert frame.height == rows, frame
        assert store.last_timestamp(series) == FIRST + DAY // 2 + 699 * 100_000_000_000
    return version("dccd")


def with_pandas(root):
    import pandas as pd

    trades = pd.concat(pd.read_parquet(f) for f in files(root, "trades"))
    assert len(trades) == 700 and trades["TS"].is_monotonic_increasing
    return pd.__version__


def main():
    root = sys.argv[1]
    read = 0
    for reader in (with_pyarrow, with_duckdb, with_polars, with_pandas, with_dccd):
        name = reader.__name__.removeprefix("with_")
        try:
            print(f"{name} {reader(root)}: ok")
            read += 1
        except ModuleNotFoundError as error:
            print(f"{name}: skipped, {error}")
    if read == 0:
        sys.exit("no Parquet reader is installed")


if __name__ == "__main__":
    main()
