#!/usr/bin/env python3
"""The WebSocket side of the simulated exchange, seen through ccxt.pro's Binance class as it is, its addresses aside."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

TRADES = 60
DEADLINE_S = 40


async def check(args):
    options = {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot", "watchOrderBookLimit": 1000}
    exchange = ccxt.pro.binance({"options": options, "timeout": 10_000, "newUpdates": True})
    exchange.urls["api"]["public"] = f"{args.rest_url}/api/v3"
    exchange.urls["api"]["ws"]["spot"] = f"{args.ws_url}/ws"
    symbol = args.symbol
    try:
        trades = []
        while len(trades) < TRADES:
            trades += await exchange.watch_trades(symbol)
        ids = [int(t["id"]) for t in trades]
        verify(ids == list(range(ids[0], ids[0] + len(ids))), f"watch_trades: {len(ids)} trades with contiguous ids", ids[:5])
        rows = get(f"{args.rest_url}/api/v3/historicalTrades?symbol={symbol.replace('/', '')}&fromId={ids[0]}&limit={len(ids)}")
        told = [(float(r["price"]), float(r["qty"]), "sell" if r["isBuyerMaker"] else "buy") for r in rows]
        seen = [(t["price"], t["amount"], t["side"]) for t in trades]
        verify(seen == told, "each as REST tells it", seen[:2], told[:2])

        book = await exchange.watch_order_book(symbol, 1000)
        for _ in range(10):
            book = await exchange.watch_order_book(symbol, 1000)
            verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['nonce']}")
        # The market stands still: then the client's book must become the exchange's own.
        post(f"{args.rest_url}/sim/pause")
        try:
            exact = get(f"{args.rest_url}/api/v3/depth?symbol={symbol.replace('/', '')}&limit=500")
            while book["nonce"] < exact["lastUpdateId"]:
                book = await exchange.watch_order_book(symbol, 1000)
        finally:
            post(f"{args.rest_url}/sim/resume")
        for side in ("bids", "asks"):
            told = [[float(price), float(amount)] for price, amount in exact[side]]
            kept = [list(level[:2]) for level in book[side][: len(told)]]
            verify(kept == told, f"the {side} are the exchange's own, {len(told)} levels deep", kept[:3], told[:3])
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
