#!/usr/bin/env python3
"""The WebSocket side of the simulated Bybit, seen through ccxt.pro's Bybit class as it is, its addresses aside: spot and swap."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 40
BOOKS = 30
DEADLINE_S = 50


def client(args, kind):
    options = {"defaultType": kind, "fetchMarkets": {"types": ["spot", "linear"]}}
    exchange = ccxt.pro.bybit({"options": options, "timeout": 10_000, "newUpdates": True})
    for name in exchange.urls["api"]:
        if name != "ws":
            exchange.urls["api"][name] = args.rest_url
    exchange.urls["api"]["ws"]["public"] = {
        "spot": f"{args.ws_url}/v5/public/spot",
        "linear": f"{args.ws_url}/v5/public/linear",
        "inverse": f"{args.ws_url}/v5/public/inverse",
        "option": f"{args.ws_url}/v5/public/option",
    }
    exchange.has["fetchCurrencies"] = False
    return exchange


async def check(args, kind, symbol):
    exchange = client(args, kind)
    category = "spot" if kind == "spot" else "linear"
    symbol_id = symbol.split(":")[0].replace("/", "")
    query = f"category={category}&symbol={symbol_id}"
    try:
        trades = []
        while len(trades) < TRADES:
            trades += await exchange.watch_trades(symbol)
        trades = trades[-40:]
        ids = [t["id"] for t in trades]
        verify(len(set(ids)) == len(ids), f"watch_trades {kind}: {len(ids)} trades, each with an id of its own", ids[:3])
        if kind == "spot":
            numbers = [int(one) for one in ids]
            verify(numbers == list(range(numbers[0], numbers[0] + len(numbers))), "ids are contiguous", ids[:3])
        rows = get(f"{args.rest_url}/v5/market/recent-trade?{query}&limit=1000")["result"]["list"]
        rows = {row["execId"]: row for row in rows}
        known = [t for t in trades if t["id"] in rows]
        verify(len(known) >= 10, "REST has the newest of them", len(known))
        seen = [(t["price"], t["amount"], t["side"].capitalize(), t["timestamp"]) for t in known]
        of = lambda row: (float(row["price"]), float(row["size"]), row["side"], int(row["time"]))
        told = [of(rows[t["id"]]) for t in known]
        verify(seen == told, "each as REST tells it", seen[:2], told[:2])

        for depth in (50, 200, 1_000):
            for _ in range(BOOKS):
                book = await exchange.watch_order_book(symbol, depth)
                verify(book["bids"][0][0] < book["asks"][0][0], f"{kind} book of {depth}: not crossed at {book['bids'][0][0]}")
            # The market stands still: then the client's book is the exchange's own.
            post(f"{args.rest_url}/sim/pause")
            try:
                await asyncio.sleep(0.6)
                exact = get(f"{args.rest_url}/v5/market/orderbook?{query}&limit={depth}")["result"]
                book = exchange.orderbooks[symbol]
                for side, name in (("bids", "b"), ("asks", "a")):
                    told = [[float(price), float(amount)] for price, amount in exact[name]]
                    kept = [list(level[:2]) for level in book[side][: depth + 10]]
                    verify(kept == told, f"{kind}: the {side} are the exchange's own, {len(told)} deep", kept[:3], told[:3])
            finally:
                post(f"{args.rest_url}/sim/resume")
            await exchange.un_watch_order_book(symbol, {"limit": depth})

        ticker = await exchange.watch_ticker(symbol)
        for _ in range(5):
            ticker = await exchange.watch_ticker(symbol)
            verify(ticker["low"] <= ticker["last"] <= ticker["high"], f"watch_ticker {kind}: {ticker['last']} is within the day", ticker)
        if kind == "swap":
            verify(ticker["bid"] < ticker["ask"], "its best prices aren't crossed", ticker)

        candles = await exchange.watch_ohlcv(symbol, "1m")
        verify(candles and all(c[3] <= c[4] <= c[2] for c in candles), "watch_ohlcv: low <= close <= high", candles[-1:])
    finally:
        await exchange.close()


async def both(args):
    await check(args, "spot", "BTC/USDT")
    await check(args, "swap", "BTC/USDT:USDT")


async def main():
    args = arguments(__doc__)
    try:
        await asyncio.wait_for(both(args), DEADLINE_S)
    except asyncio.TimeoutError:
        verify(False, f"everything came within {DEADLINE_S} s")


if __name__ == "__main__":
    asyncio.run(main())
