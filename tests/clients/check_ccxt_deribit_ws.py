#!/usr/bin/env python3
"""The WebSocket side of the simulated Deribit, seen through ccxt.pro's Deribit class as it is, its addresses aside."""

import asyncio

import ccxt.pro

from common import arguments, get, post, verify

SYMBOLS = ["BTC/USDC", "BTC/USD:BTC"]
TRADES = 60
BOOKS = 30
DEADLINE_S = 60


async def check(exchange, symbol, args):
    id = exchange.market(symbol)["id"]
    trades = []
    while len(trades) < TRADES:
        trades += await exchange.watch_trades(symbol)
    seqs = [int(t["info"]["trade_seq"]) for t in trades]
    verify(all(b == a + 1 for a, b in zip(seqs, seqs[1:])), f"watch_trades: {len(seqs)}, none missing", seqs[:5])
    page = get(
        f"{args.rest_url}/api/v2/public/get_last_trades_by_instrument?instrument_name={id}"
        f"&start_seq={seqs[0]}&end_seq={seqs[-1]}&count=1000&sorting=asc"
    )["result"]["trades"]
    told = [(r["trade_id"], r["price"], r["amount"], r["direction"], r["timestamp"]) for r in page]
    seen = [(t["id"], t["price"], t["amount"], t["side"], t["timestamp"]) for t in trades]
    verify(told == seen, "they are those that REST tells", told[:2], seen[:2])

    for _ in range(5):
        ticker = await exchange.watch_ticker(symbol)
        verify(ticker["bid"] < ticker["ask"], f"watch_ticker: not crossed at {ticker['bid']}", ticker)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "its last price is within the day", ticker)

    quote = (await exchange.watch_bids_asks([symbol]))[symbol]
    verify(quote["bid"] < quote["ask"], "watch_bids_asks: not crossed", quote)

    candles = await exchange.watch_ohlcv(symbol, "1m")
    verify(candles and all(c[3] <= c[4] <= c[2] for c in candles), "watch_ohlcv: low <= close <= high", candles[-1:])

    for _ in range(BOOKS):
        book = await exchange.watch_order_book(symbol)
        verify(book["bids"][0][0] < book["asks"][0][0], f"watch_order_book: not crossed at {book['bids'][0][0]}")
    # The market stands still: then the client's book is the exchange's own.
    post(f"{args.rest_url}/sim/pause")
    try:
        await asyncio.sleep(0.6)
        address = f"{args.rest_url}/api/v2/public/get_order_book?instrument_name={id}&depth=10000"
        exact = get(address)["result"]
        book = exchange.orderbooks[symbol]
        for side in ("bids", "asks"):
            kept = [list(level[:2]) for level in book[side]]
            verify(kept == exact[side], f"the {side} are the exchange's own, {len(kept)} levels deep", kept[:3], exact[side][:3])
    finally:
        post(f"{args.rest_url}/sim/resume")
    # It does not look at the numbers of changes: a lost one is not seen by it.


async def run(args):
    exchange = ccxt.pro.deribit({"timeout": 10_000, "rateLimit": 1, "newUpdates": True})
    exchange.urls["api"]["rest"] = args.rest_url
    exchange.urls["api"]["ws"] = f"{args.ws_url}/ws/api/v2"
    try:
        await exchange.load_markets()
        for symbol in SYMBOLS:
            await check(exchange, symbol, args)
    finally:
        await exchange.close()
    # Channels that are told at once are for those who have said who they are.
    exchange = ccxt.pro.deribit({"timeout": 10_000, "rateLimit": 1, "apiKey": "anybody", "secret": "secret"})
    exchange.urls["api"]["rest"] = args.rest_url
    exchange.urls["api"]["ws"] = f"{args.ws_url}/ws/api/v2"
    try:
        book = await exchange.watch_order_book(SYMBOLS[1], params={"interval": "raw"})
        verify(book["bids"][0][0] < book["asks"][0][0], "watch_order_book: raw, authenticated", book["bids"][:1])
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
