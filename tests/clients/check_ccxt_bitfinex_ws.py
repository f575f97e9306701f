#!/usr/bin/env python3
"""The WebSocket side of the simulated Bitfinex, seen through ccxt.pro's bitfinex class as it is, its addresses aside.

Books are those of markets whose amounts are no millionths: of numbers below one ccxt makes other digits than the exchange, and its
checksum fails. Their checksums are verified by it."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 60
BOOKS = 60
DEADLINE_S = 60


async def trades_of(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    trades = []
    while len(trades) < TRADES:
        trades += await exchange.watch_trades(symbol)
    ids = [int(t["id"]) for t in trades]
    begin = min(t["timestamp"] for t in trades)
    page = get(f"{args.rest_url}/v2/trades/{id}/hist?start={begin}&sort=1&limit=10000")
    known = {row[0]: row for row in page}
    same = [t for t in trades if (row := known.get(int(t["id"]))) and row[3] == t["price"] and abs(row[2]) == t["amount"]]
    verify(len(same) == len(trades), f"watch_trades: {len(trades)} trades of {id}, each as REST tells it", trades[:1])
    between = [row for row in page if min(ids) <= row[0] <= max(ids)]
    verify(len(between) == len(set(ids)), "none is missing between them", len(between), len(set(ids)))


async def book_of(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    # It raises ChecksumError where one is wrong.
    for _ in range(BOOKS):
        await exchange.watch_order_book(symbol, 25)
    # The market stands still: then the client's book is the exchange's own.
    post(f"{args.rest_url}/sim/pause")
    try:
        await asyncio.sleep(0.6)
        exact = get(f"{args.rest_url}/v2/book/{id}/P0?len=25")
        book = exchange.orderbooks[symbol]
        for side, sign in (("bids", 1), ("asks", -1)):
            told = [[price, abs(amount), count] for price, count, amount in exact if amount * sign > 0]
            kept = [list(level) for level in book[side]]
            verify(kept == told, f"watch_order_book: the {side} of {id} are the exchange's own", kept[:3], told[:3], len(kept))
        verify(book["bids"][0][0] < book["asks"][0][0], f"not crossed at {book['bids'][0][0]}")
    finally:
        post(f"{args.rest_url}/sim/resume")


async def run(args):
    exchange = ccxt.pro.bitfinex({"timeout": 10_000, "rateLimit": 1, "newUpdates": True})
    exchange.urls["api"]["public"] = args.rest_url
    exchange.urls["api"]["ws"]["public"] = f"{args.ws_url}/ws/2"
    try:
        await exchange.load_markets()
        # Trades first: with the checksums' flag a snapshot looks no other, and ccxt asks for it with the first book.
        for symbol in ("BTC/USDT", "DOGE/USD"):
            await trades_of(exchange, symbol, args)
        for _ in range(3):
            ticker = await exchange.watch_ticker("BTC/USDT")
            verify(ticker["bid"] < ticker["ask"], f"watch_ticker: not crossed at {ticker['bid']}", ticker)
        verify(ticker["low"] <= ticker["last"] <= ticker["high"], "its last price is within the day", ticker)
        candles = await exchange.watch_ohlcv("BTC/USDT:USDT", "1m")
        verify(candles and all(c[3] <= c[4] <= c[2] for c in candles), "watch_ohlcv: low <= close <= high", candles[-1:])
        await book_of(exchange, "DOGE/USD", args)

        # An update that is lost shows in the checksum.
        post(f"{args.rest_url}/sim/fault", {"kind": "drop", "stream": "book:tDOGE:USD", "count": 8})
        try:
            for _ in range(400):
                await exchange.watch_order_book("DOGE/USD", 25)
            verify(False, "lost updates are seen")
        except (ccxt.ChecksumError, KeyError) as error:
            # ccxt forgets the subscription first and may then look for it, before it raises its own error.
            verify("checksum" in str(error) or "book:" in str(error), "lost updates are seen", str(error))
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
