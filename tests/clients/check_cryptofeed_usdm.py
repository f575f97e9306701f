#!/usr/bin/env python3
"""The perpetuals of the simulated Binance, seen through cryptofeed's BinanceFutures class as it is, its addresses aside.

It knows one address for all streams, as there was until 2026: one feed of it is pointed at each route."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import CANDLES, FUNDING, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import BinanceFutures

from common import arguments, verify

WANTED = 40
DEADLINE_S = 40
SYMBOL = "BTC-USDT-PERP"


def local(args, route):
    class Local(BinanceFutures):
        # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
        websocket_endpoints = [WebsocketEndpoint(args.ws_url.replace("ws://", "wss://") + route)]
        rest_endpoints = [
            RestEndpoint(
                args.rest_url,
                routes=Routes("/fapi/v1/exchangeInfo", l2book="/fapi/v1/depth?symbol={}&limit={}"),
            )
        ]

        def connect(self):
            connections = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://")
            return connections

    return Local


def main():
    args = arguments(__doc__)
    trades, books, tickers, fundings, candles = [], [], [], [], []
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades.append(trade)

    async def on_book(book, _received):
        books.append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], book.sequence_number))

    async def on_ticker(ticker, _received):
        tickers.append(ticker)

    async def on_funding(funding, _received):
        fundings.append(funding)

    async def on_candle(candle, _received):
        candles.append(candle)

    public = {L2_BOOK: on_book, TICKER: on_ticker}
    market = {TRADES: on_trade, FUNDING: on_funding, CANDLES: on_candle}
    for route, callbacks in (("/public", public), ("/market", market)):
        feed = local(args, route)(
            symbols=[SYMBOL], channels=list(callbacks), callbacks=callbacks, max_depth=100, candle_closed_only=False
        )
        handler.add_feed(feed)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def until_enough():
        for _ in range(DEADLINE_S * 20):
            if min(len(trades), len(books), len(tickers)) >= WANTED and fundings and candles:
                break
            await asyncio.sleep(0.05)
        loop.stop()

    loop.create_task(until_enough())
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()

    counts = f"{len(trades)} trades, {len(books)} books, {len(tickers)} tickers, {len(fundings)} fundings, {len(candles)} candles"
    verify(min(len(trades), len(books), len(tickers)) >= WANTED and fundings and candles, f"it received {counts}", counts)
    ids = [int(t.id) for t in trades]
    verify(ids == list(range(ids[0], ids[0] + len(ids))), "trade ids are contiguous", ids[:5])
    verify(all(bid < ask for bid, ask, _ in books), "no book is crossed", books[:3])
    sequences = [sequence for _, _, sequence in books]
    verify(sequences == sorted(sequences), "books follow each other", sequences[:5])
    verify(all(t.bid < t.ask for t in tickers), "no quote is crossed")
    verify(all(f.mark_price > 0 for f in fundings), "fundings have a mark price")
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
