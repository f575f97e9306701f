#!/usr/bin/env python3
"""The WebSocket side of the simulated Coinbase, seen through ccxt.pro's class of Coinbase Exchange as it is, its addresses aside.

It follows books over `level2`, which wants a key, and has no name for `level2_batch`: that is told to it as a parameter.
"""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 80
BOOKS = 30
DEADLINE_S = 60
# A key that nobody has: what needs none does not look at it.
KEY = {"apiKey": "nobody", "secret": "bm9ib2R5", "password": "nothing"}
BATCH = {"channels": ["level2_batch"]}


async def check(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    trades = []
    while len(trades) < TRADES:
        trades += await exchange.watch_trades(symbol)
    ids = [int(t["id"]) for t in trades]
    verify(ids == list(range(ids[0], ids[0] + len(ids))), f"watch_trades: {len(ids)} trades, none missing", ids[:5])
    page = get(f"{args.rest_url}/products/{id}/trades?after={ids[-1] + 1}&limit={len(ids)}")
    rows = {row["trade_id"]: row for row in page}
    wrong = []
    for trade in trades:
        row, told = rows[int(trade["id"])], trade["info"]
        same = (float(row["price"]), float(row["size"])) == (trade["price"], trade["amount"])
        if not same or (row["side"], row["time"]) != (told["side"], told["time"]):
            wrong.append((trade, row))
    verify(not wrong, "each is the one that REST tells", wrong[:1])

    for _ in range(5):
        ticker = await exchange.watch_ticker(symbol)
        verify(ticker["bid"] < ticker["ask"], f"watch_ticker: not crossed at {ticker['bid']}", ticker)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "its last price is within the day", ticker)

    for _ in range(BOOKS):
        book = await exchange.watch_order_book(symbol, params=BATCH)
        verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['bids'][0][0]}")
    # The market stands still: then the client's book is the exchange's own.
    post(f"{args.rest_url}/sim/pause")
    try:
        await asyncio.sleep(0.6)
        exact = get(f"{args.rest_url}/products/{id}/book?level=2")
        book = exchange.orderbooks[symbol]
        for side in ("bids", "asks"):
            told = [[float(price), float(amount)] for price, amount, _ in exact[side]]
            kept = [list(level[:2]) for level in book[side]]
            verify(kept == told, f"the {side} are the exchange's own, {len(told)} levels deep", kept[:3], told[:3], len(kept))
    finally:
        post(f"{args.rest_url}/sim/resume")


async def run(args):
    exchange = ccxt.pro.coinbaseexchange({"timeout": 10_000, "rateLimit": 1, "newUpdates": True, "userAgent": "check", **KEY})
    exchange.urls["api"]["public"] = args.rest_url
    exchange.urls["api"]["ws"] = args.ws_url
    symbol = args.symbol.replace("USDT", "USD")
    try:
        await exchange.load_markets()
        await check(exchange, symbol, args)
        try:
            await exchange.watch_order_book("ETH/USD")
            verify(False, "level2 with a key that nobody has is refused")
        except ccxt.AuthenticationError as error:
            verify("Invalid API Key" in str(error), "level2 with a key that nobody has is refused", str(error))
        try:
            await exchange.subscribe("level2", "ETH/USD", "keyless")
            verify(False, "level2 without a key is refused")
        except ccxt.ExchangeError as error:
            verify("now require authentication" in str(error), "level2 without a key is refused", str(error))
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
