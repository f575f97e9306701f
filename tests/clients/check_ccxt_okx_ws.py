#!/usr/bin/env python3
"""The WebSocket side of the simulated OKX, seen through ccxt.pro's OKX class as it is, its addresses aside: spot and swap."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 60
BOOKS = 30
DEADLINE_S = 60


async def check(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    trades = []
    while len(trades) < TRADES:
        trades += await exchange.watch_trades(symbol)
    # One message for what one order took at one price: its last trade's id, and how many they were.
    counts = [int(t["info"]["count"]) for t in trades]
    ids = [int(t["id"]) for t in trades]
    follows = all(b - n == a for a, b, n in zip(ids, ids[1:], counts[1:]))
    verify(follows, f"watch_trades: {len(ids)} orders' trades, none missing between them", list(zip(ids, counts))[:5])
    rows = {}
    after = ids[-1] + 1
    while after > ids[0]:
        page = get(f"{args.rest_url}/api/v5/market/history-trades?instId={id}&after={after}&limit=100")["data"]
        rows.update((int(row["tradeId"]), row) for row in page)
        after = min(rows)
    # The first message began before its last trade alone is known.
    wrong = []
    for trade, count in list(zip(trades, counts))[1:]:
        of = [rows[int(trade["id"]) - n] for n in range(count)]
        same = all((float(r["px"]), r["side"], int(r["ts"])) == (trade["price"], trade["side"], trade["timestamp"]) for r in of)
        if not same or abs(sum(float(r["sz"]) for r in of) - trade["amount"]) > 1e-9:
            wrong.append((trade, of))
    verify(not wrong, "each is the sum of those that REST tells", wrong[:1])

    for _ in range(5):
        ticker = await exchange.watch_ticker(symbol)
        verify(ticker["bid"] < ticker["ask"], f"watch_ticker: not crossed at {ticker['bid']}", ticker)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "its last price is within the day", ticker)

    quote = (await exchange.watch_bids_asks([symbol]))[symbol]
    verify(quote["bid"] < quote["ask"], "watch_bids_asks: not crossed", quote)

    candles = await exchange.watch_ohlcv(symbol, "1m")
    verify(candles and all(c[3] <= c[4] <= c[2] for c in candles), "watch_ohlcv: low <= close <= high", candles[-1:])

    # It refuses a book whose update does not name the one before.
    for _ in range(BOOKS):
        book = await exchange.watch_order_book(symbol)
        verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['bids'][0][0]}")
    # The market stands still: then the client's book is the exchange's own.
    post(f"{args.rest_url}/sim/pause")
    try:
        await asyncio.sleep(0.6)
        exact = get(f"{args.rest_url}/api/v5/market/books?instId={id}&sz=400")["data"][0]
        book = exchange.orderbooks[symbol]
        verify(book["nonce"] == exact["seqId"], "the book has the exchange's number", book["nonce"], exact["seqId"])
        for side in ("bids", "asks"):
            told = [[float(price), float(amount)] for price, amount, *_ in exact[side]]
            kept = [list(level[:2]) for level in book[side]]
            verify(kept == told, f"the {side} are the exchange's own, {len(told)} levels deep", kept[:3], told[:3], len(kept))
    finally:
        post(f"{args.rest_url}/sim/resume")

    # An update that is lost is seen with the next one.
    post(f"{args.rest_url}/sim/fault", {"kind": "drop", "stream": f"books:{id}"})
    try:
        for _ in range(BOOKS):
            await exchange.watch_order_book(symbol)
        verify(False, "a lost update is seen")
    except ccxt.InvalidNonce as error:
        verify("invalid nonce" in str(error), "a lost update is seen", str(error))


async def run(args):
    exchange = ccxt.pro.okx({"timeout": 10_000, "rateLimit": 1, "newUpdates": True})
    exchange.urls["api"]["rest"] = args.rest_url
    exchange.urls["api"]["ws"] = f"{args.ws_url}/ws/v5"
    try:
        await exchange.load_markets()
        for symbol in (args.symbol, f"{args.symbol}:USDT"):
            await check(exchange, symbol, args)
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
