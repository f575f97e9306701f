"""Backfills 1-minute candles with dccd 3.8 (Python) from a simulated Binance; prints rows, seconds and rows a second.

    python dccd38_backfill.py http://127.0.0.1:8090 DIRECTORY 2026-01-01
"""

import asyncio
import pathlib
import sys
import time

import dccd.sources.binance as source
from dccd.application.jobs import JobParams, JobSpec, JobTarget, Trigger
from dccd.application.operations import backfill
from dccd.application.service_factory import build_coverage_store, build_registry, build_runs_store, build_store
from dccd.domain.symbol import Symbol
from dccd.domain.types import DataType

base, directory, start = sys.argv[1:4]
source._BASE_REST = base + "/api/v3"
pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
target = JobTarget(exchange="binance", symbol=Symbol.parse("BTC/USDT"), data_type=DataType("ohlc"), span=60)
spec = JobSpec(
    id=JobSpec.make_id("backfill", target),
    operation="backfill",
    target=target,
    trigger=Trigger(kind="once"),
    params=JobParams(start=start),
    origin="runtime",
)
stores = {
    "registry": build_registry(),
    "store": build_store(directory),
    "runs_store": build_runs_store(directory),
    "coverage_store": build_coverage_store(directory),
}
begun = time.monotonic()
result = asyncio.run(backfill(spec, **stores))
took = time.monotonic() - begun
rows = result.get("rows_written", 0)
if result.get("error") or not rows:
    sys.exit(f"dccd 3.8: {result}")
print(f"{rows} rows in {took:.2f} s: {rows / took:.0f} rows/s")
