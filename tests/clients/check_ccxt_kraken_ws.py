#!/usr/bin/env python3
"""The WebSocket side of the simulated Kraken, seen through ccxt.pro's Kraken class as it is, its addresses aside."""

import asyncio
import zlib

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 60
BOOKS = 60
DEPTH = 25
DEADLINE_S = 40


def digits(number, decimals):
    return f"{number:.{decimals}f}".replace(".", "").lstrip("0")


def checked(counts):
    class Checked(ccxt.pro.kraken):
        # Its own check takes the numbers for texts and fails at the first; this one is made of the book that it keeps.
        def handle_order_book(self, client, message):
            super().handle_order_book(client, message)
            data = message["data"][0]
            book = self.orderbooks[data["symbol"]]
            price, amount = self.market(data["symbol"])["precision"]["price"], self.market(data["symbol"])["precision"]["amount"]
            decimals = [len(f"{step:.8f}".rstrip("0").split(".")[1]) for step in (price, amount)]
            levels = book["asks"][:10] + book["bids"][:10]
            text = "".join(digits(level[0], decimals[0]) + digits(level[1], decimals[1]) for level in levels)
            counts["right" if zlib.crc32(text.encode()) == data["checksum"] else "wrong"] += 1

    return Checked


async def check(args):
    counts = {"right": 0, "wrong": 0}
    exchange = checked(counts)({"timeout": 10_000, "rateLimit": 1, "newUpdates": True})
    exchange.urls["api"]["public"] = args.rest_url
    exchange.urls["api"]["ws"]["publicV2"] = f"{args.ws_url}/v2"
    symbol = args.symbol.replace("USDT", "USD")
    try:
        trades = []
        while len(trades) < TRADES:
            trades += await exchange.watch_trades(symbol)
        ids = [int(t["id"]) for t in trades]
        verify(ids == list(range(ids[0], ids[0] + len(ids))), f"watch_trades: {len(ids)} trades with contiguous ids", ids[:5])
        since = trades[0]["timestamp"] * 1_000_000 - 1
        rows = get(f"{args.rest_url}/0/public/Trades?pair=XBTUSD&since={since}")["result"]["XXBTZUSD"]
        rows = {row[6]: row for row in rows}
        sides = {"b": "buy", "s": "sell"}
        told = [(float(rows[id][0]), float(rows[id][1]), sides[rows[id][3]], round(rows[id][2], 3)) for id in ids]
        seen = [(t["price"], t["amount"], t["side"], t["timestamp"] / 1_000) for t in trades]
        near = all(abs(a[3] - b[3]) < 0.0015 and a[:3] == b[:3] for a, b in zip(seen, told))
        verify(near, "each as REST tells it", seen[:2], told[:2])

        ticker = await exchange.watch_ticker(symbol)
        for _ in range(5):
            ticker = await exchange.watch_ticker(symbol)
            verify(ticker["bid"] < ticker["ask"], f"watch_ticker: not crossed at {ticker['bid']}", ticker)
        verify(ticker["low"] <= ticker["last"] <= ticker["high"], "its last price is within the day", ticker)

        candles = await exchange.watch_ohlcv(symbol, "1m")
        verify(candles and all(c[3] <= c[4] <= c[2] for c in candles), "watch_ohlcv: low <= close <= high", candles[-1:])

        for _ in range(BOOKS):
            book = await exchange.watch_order_book(symbol, DEPTH)
            verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['bids'][0][0]}")
        verify(counts["right"] >= BOOKS and counts["wrong"] == 0, f"{counts['right']} checksums, none of them wrong", counts)
        # The market stands still: then the client's book is the exchange's own.
        post(f"{args.rest_url}/sim/pause")
        try:
            await asyncio.sleep(0.5)
            exact = get(f"{args.rest_url}/0/public/Depth?pair=XBTUSD&count={DEPTH}")["result"]["XXBTZUSD"]
            book = exchange.orderbooks[symbol]
            for side in ("bids", "asks"):
                told = [[float(price), float(amount)] for price, amount, _ in exact[side]]
                kept = [list(level[:2]) for level in book[side][:DEPTH]]
                verify(kept == told, f"the {side} are the exchange's own, {len(told)} levels deep", kept[:3], told[:3])
        finally:
            post(f"{args.rest_url}/sim/resume")
        verify(counts["wrong"] == 0, "and still no checksum was wrong", counts)

        # A checksum that is wrong is seen to be.
        post(f"{args.rest_url}/sim/fault", {"kind": "corrupt", "how": "checksum", "stream": f"book:{symbol}"})
        for _ in range(BOOKS):
            await exchange.watch_order_book(symbol, DEPTH)
        verify(counts["wrong"] == 1, "a wrong checksum is seen once", counts)
    finally:
        await exchange.close()


async def main():
    args = arguments(__doc__)
    try:
        await asyncio.wait_for(check(args), DEADLINE_S)
    except asyncio.TimeoutError:
        verify(False, f"everything came within {DEADLINE_S} s")


if __name__ == "__main__":
    asyncio.run(main())
