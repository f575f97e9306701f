#!/usr/bin/env python3
"""The perpetuals of the simulated Binance over WebSocket, seen through ccxt.pro's binanceusdm as it is, its addresses aside."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 60
DEADLINE_S = 40
SYMBOL = "BTC/USDT:USDT"


async def check(args):
    exchange = ccxt.pro.binanceusdm({"timeout": 10_000, "newUpdates": True, "options": {"watchOrderBookLimit": 1000}})
    exchange.urls["api"]["fapiPublic"] = f"{args.rest_url}/fapi/v1"
    # It puts the route in between by itself.
    exchange.urls["api"]["ws"]["linear"] = f"{args.ws_url}/ws"
    try:
        trades = []
        while len(trades) < TRADES:
            trades += await exchange.watch_trades(SYMBOL)
        ids = [int(t["id"]) for t in trades]
        verify(ids == list(range(ids[0], ids[0] + len(ids))), f"watch_trades: {len(ids)} trades with contiguous ids", ids[:5])
        rows = get(f"{args.rest_url}/fapi/v1/trades?symbol=BTCUSDT&limit=1000")
        rows = [r for r in rows if ids[0] <= r["id"] <= ids[-1]]
        told = [(float(r["price"]), float(r["qty"]), "sell" if r["isBuyerMaker"] else "buy") for r in rows]
        seen = [(t["price"], t["amount"], t["side"]) for t in trades]
        verify(seen == told, "each as REST tells it", seen[:2], told[:2])

        book = await exchange.watch_order_book(SYMBOL, 1000)
        for _ in range(10):
            book = await exchange.watch_order_book(SYMBOL, 1000)
            verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['nonce']}")
        # The market stands still: then the client's book must become the exchange's own.
        post(f"{args.rest_url}/sim/pause")
        try:
            exact = get(f"{args.rest_url}/fapi/v1/depth?symbol=BTCUSDT&limit=500")
            while book["nonce"] < exact["lastUpdateId"]:
                book = await exchange.watch_order_book(SYMBOL, 1000)
        finally:
            post(f"{args.rest_url}/sim/resume")
        for side in ("bids", "asks"):
            told = [[float(price), float(amount)] for price, amount in exact[side]]
            kept = [list(level[:2]) for level in book[side][: len(told)]]
            verify(kept == told, f"the {side} are the exchange's own, {len(told)} levels deep", kept[:3], told[:3])

        best = await exchange.watch_bids_asks([SYMBOL])
        verify(best[SYMBOL]["bid"] < best[SYMBOL]["ask"], "watch_bids_asks: not crossed", best)
        ticker = await exchange.watch_ticker(SYMBOL)
        verify(ticker["low"] <= ticker["last"] <= ticker["high"], "watch_ticker agrees with itself", ticker)
        mark = await exchange.watch_mark_price(SYMBOL)
        verify(mark["markPrice"] > 0 and mark["indexPrice"] > 0, "watch_mark_price", mark)
        candles = await exchange.watch_ohlcv(SYMBOL, "1m")
        verify(candles[-1][0] % 60_000 == 0, "watch_ohlcv: a candle of a minute", candles[-1])
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
