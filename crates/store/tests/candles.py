"""dccd 3.x and 2.x (Python) on a store of candles that tests/candles_python.rs writes and reads.

usage: candles.py read|extend|legacy DATA_PATH
`read`: dccd 3.x loads what is there, prints rows, first and last time. `extend`: dccd 3.x saves three more candles, the last of which
replaces one. `legacy`: a file as dccd 2.4.0 writes it (dccd/storage.py and histo_dl/exchange.py: polars, seconds, forward-filled).
"""

import pathlib
import sys

HOUR = 3_600_000_000_000
START = 1_704_067_200_000_000_000  # 2024-01-01


def series():
    from dccd.domain.dataset import DatasetId
    from dccd.domain.symbol import Symbol
    from dccd.domain.types import DataType

    return DatasetId(exchange="binance", symbol=Symbol(base="BTC", quote="USDT"), data_type=DataType.OHLC, span=3600)


def read(root):
    from dccd.storage.parquet import ParquetStore

    store = ParquetStore(root)
    frame = store.load(series())
    assert frame.columns == ["TS", "open", "high", "low", "close", "volume", "quote_volume", "trades"], frame.columns
    assert frame["TS"].is_sorted() and frame["TS"].n_unique() == frame.height
    (entry,) = [e for e in store.inventory() if e["data_type"] == "ohlc"]
    assert entry["rows"] == frame.height and entry["span"] == 3600 and entry["pair"] == "BTC-USDT", entry
    assert (entry["min_ts"], entry["max_ts"]) == (frame["TS"].min(), frame["TS"].max()), entry
    assert store.last_timestamp(series()) == frame["TS"].max()
    hours = [(ts - START) // HOUR for ts in frame["TS"]]
    print("rows", frame.height, "hours", hours[0], hours[-1], "missing", entry["missing_rows"], "null", frame["trades"].null_count())


def extend(root):
    from dccd.domain.records import OHLCBar
    from dccd.storage.parquet import ParquetStore

    bar = lambda hour: OHLCBar(ts=START + hour * HOUR, open=5.0, high=6.0, low=4.0, close=5.5, volume=1.0, quote_volume=None, trades=3)
    print("saved", ParquetStore(root).save(series(), [bar(12), bar(13), bar(9)]))


def legacy(root):
    import polars as pl

    folder = pathlib.Path(root) / "binance" / "ohlc" / "ETH-USDT" / "1h"
    folder.mkdir(parents=True)
    seconds = [START // 1_000_000_000 + hour * 3600 for hour in range(6)]
    # Hours 2 and 3 were missing and are filled with what stood before.
    close = [1.5, 2.5, 2.5, 2.5, 4.5, 5.5]
    frame = pl.DataFrame(
        {
            "TS": seconds,
            "open": [c - 0.5 for c in close],
            "high": [c + 1 for c in close],
            "low": [c - 1 for c in close],
            "close": close,
            "volume": [c * 2 for c in close],
            "quoteVolume": [c * 3 for c in close],
            "weightedAverage": [None] * 6,
        },
    ).with_columns(pl.col("TS").cast(pl.Int64))
    frame.unique(subset=["TS"], keep="last").sort("TS").write_parquet(folder / "2024.parquet")
    print("written", frame.height)


if __name__ == "__main__":
    try:
        {"read": read, "extend": extend, "legacy": legacy}[sys.argv[1]](sys.argv[2])
    except ModuleNotFoundError as error:
        print("skipped:", error)
