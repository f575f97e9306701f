#!/usr/bin/env python3
"""Both sockets of the simulated KuCoin, seen through ccxt.pro's KuCoin class as it is, its addresses aside: spot."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 60
BOOKS = 60
DEADLINE_S = 60
# It takes the best hundred levels of REST for the whole book: deeper ones come and go unseen.
LEVELS = 20


async def check_classic(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    trades = []
    while len(trades) < TRADES:
        trades += await exchange.watch_trades(symbol)
    sequences = [int(t["info"]["sequence"]) for t in trades]
    verify(all(a < b for a, b in zip(sequences, sequences[1:])), f"watch_trades: {len(trades)} trades, their numbers grow")
    rows = {row["sequence"]: row for row in get(f"{args.rest_url}/api/v1/market/histories?symbol={id}")["data"]}
    both = [(t, rows[t["info"]["sequence"]]) for t in trades if t["info"]["sequence"] in rows]
    same = all((float(r["price"]), float(r["size"]), r["side"]) == (t["price"], t["amount"], t["side"]) for t, r in both)
    verify(len(both) > 20 and same, f"{len(both)} of them are those that REST tells", both[:1])

    for _ in range(2):
        ticker = await exchange.watch_ticker(symbol)
        verify(ticker["bid"] < ticker["ask"] and ticker["low"] <= ticker["last"] <= ticker["high"], "watch_ticker: the day agrees with itself", ticker)
    quote = (await exchange.watch_bids_asks([symbol]))[symbol]
    verify(quote["bid"] < quote["ask"], "watch_bids_asks: not crossed", quote)
    candles = await exchange.watch_ohlcv(symbol, "1h")
    verify(candles and all(c[3] <= c[4] <= c[2] for c in candles), "watch_ohlcv: low <= close <= high", candles[-1:])

    for _ in range(BOOKS):
        book = await exchange.watch_order_book(symbol)
        verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['bids'][0][0]}")
    # The market stands still: then the client's book is the exchange's own.
    post(f"{args.rest_url}/sim/pause")
    try:
        await asyncio.sleep(0.6)
        exact = get(f"{args.rest_url}/api/v1/market/orderbook/level2_20?symbol={id}")["data"]
        book = exchange.orderbooks[symbol]
        verify(book["nonce"] == int(exact["sequence"]), "the book has the exchange's number", book["nonce"], exact["sequence"])
        for side in ("bids", "asks"):
            told = [[float(price), float(amount)] for price, amount in exact[side]]
            kept = [list(level[:2]) for level in book[side][:LEVELS]]
            verify(kept == told, f"the best {LEVELS} {side} are the exchange's own", kept[:3], told[:3])
    finally:
        post(f"{args.rest_url}/sim/resume")
    print("skipped: an update that is lost is not seen: this client does not look at sequenceStart")


async def check_unified(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    uta = {"uta": True}
    trades = []
    while len(trades) < TRADES:
        trades += await exchange.watch_trades(symbol, params=uta)
    verify(all(int(a["id"]) < int(b["id"]) for a, b in zip(trades, trades[1:])), f"watch_trades of unified accounts: {len(trades)}")
    for _ in range(10):
        book = await exchange.watch_order_book(symbol, params={**uta, "utaDepth": "50"})
        verify(len(book["bids"]) == len(book["asks"]) == 50 and book["bids"][0][0] < book["asks"][0][0], "watch_order_book of unified accounts: 50 levels, not crossed")
    post(f"{args.rest_url}/sim/pause")
    try:
        await asyncio.sleep(0.6)
        exact = get(f"{args.rest_url}/api/v1/market/orderbook/level2_20?symbol={id}")["data"]
        kept = [list(level[:2]) for level in exchange.orderbooks[symbol]["bids"][:LEVELS]]
        told = [[float(price), float(amount)] for price, amount in exact["bids"]]
        verify(kept == told, "it is the exchange's own", kept[:3], told[:3])
    finally:
        post(f"{args.rest_url}/sim/resume")
    print("skipped: changes of a unified account's book: this client reads none of their levels")


async def run(args):
    def client():
        exchange = ccxt.pro.kucoin({"timeout": 10_000, "rateLimit": 1, "newUpdates": True})
        exchange.urls["api"]["public"] = args.rest_url
        exchange.urls["api"]["ws"]["spot"] = args.ws_url
        # Contracts are on another exchange's address.
        exchange.options["fetchMarkets"] = {"types": ["spot"]}
        return exchange

    for check in (check_classic, check_unified):
        exchange = client()
        try:
            await exchange.load_markets()
            await check(exchange, args.symbol, args)
        finally:
            await exchange.close()


async def main():
    args = arguments(__doc__)
    try:
        await asyncio.wait_for(run(args), DEADLINE_S)
    except asyncio.TimeoutError:
        verify(False, f"everything came within {DEADLINE_S} s")


if __name__ == "__main__":
    asyncio.run(main())
