#!/usr/bin/env python3
"""The simulated exchange, seen through cryptofeed's Binance class as it is, its addresses aside."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Binance

from common import arguments, verify

WANTED = 40
DEADLINE_S = 40


def local(args):
    class Local(Binance):
        # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
        websocket_endpoints = [WebsocketEndpoint(args.ws_url.replace("ws://", "wss://"))]
        rest_endpoints = [
            RestEndpoint(args.rest_url, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))
        ]

        def connect(self):
            connections = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://")
            return connections

    return Local


def main():
    args = arguments(__doc__)
    symbol = args.symbol.replace("/", "-")
    trades, books, tickers = [], [], []
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades.append(trade)

    async def on_book(book, _received):
        books.append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], book.sequence_number))

    async def on_ticker(ticker, _received):
        tickers.append(ticker)

    callbacks = {TRADES: on_trade, L2_BOOK: on_book, TICKER: on_ticker}
    feed = local(args)(symbols=[symbol], channels=[TRADES, L2_BOOK, TICKER], callbacks=callbacks, max_depth=100)
    handler.add_feed(feed)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def until_enough():
        for _ in range(DEADLINE_S * 20):
            if min(len(trades), len(books), len(tickers)) >= WANTED:
                break
            await asyncio.sleep(0.05)
        loop.stop()

    loop.create_task(until_enough())
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()

    counts = f"{len(trades)} trades, {len(books)} books, {len(tickers)} tickers"
    verify(min(len(trades), len(books), len(tickers)) >= WANTED, f"it received {counts}", counts)
    ids = [int(t.id) for t in trades]
    verify(ids == list(range(ids[0], ids[0] + len(ids))), "trade ids are contiguous", ids[:5])
    verify(all(bid < ask for bid, ask, _ in books), "no book is crossed", books[:3])
    sequences = [sequence for _, _, sequence in books]
    verify(sequences == sorted(sequences), "books follow each other", sequences[:5])
    verify(all(t.bid < t.ask for t in tickers), "no quote is crossed")
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
