#!/usr/bin/env python3
"""The simulated OKX, seen through cryptofeed's OKX class as it is, its addresses aside: spot and swap, checksums verified."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import OKX

from common import arguments, verify

WANTED = 30
DEADLINE_S = 40


def local(args):
    class Local(OKX):
        # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
        websocket_endpoints = [WebsocketEndpoint(args.ws_url.replace("ws://", "wss://") + "/ws/v5/public")]
        rest_endpoints = [
            RestEndpoint(args.rest_url, routes=Routes([f"/api/v5/public/instruments?instType={kind}" for kind in ("SPOT", "SWAP")]))
        ]

        def connect(self):
            connections = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://")
            return connections

    return Local


def main():
    args = arguments(__doc__)
    spot = args.symbol.replace("/", "-")
    symbols = [spot, f"{spot}-PERP"]
    trades, books, tickers = ({symbol: [] for symbol in symbols} for _ in range(3))
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades[trade.symbol].append(trade)

    async def on_book(book, _received):
        books[book.symbol].append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], book.checksum))

    async def on_ticker(ticker, _received):
        tickers[ticker.symbol].append(ticker)

    callbacks = {TRADES: on_trade, L2_BOOK: on_book, TICKER: on_ticker}
    feed = local(args)(symbols=symbols, channels=[TRADES, L2_BOOK, TICKER], callbacks=callbacks, checksum_validation=True)
    handler.add_feed(feed)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def least():
        return min(len(seen[symbol]) for seen in (trades, books, tickers) for symbol in symbols)

    async def until_enough():
        for _ in range(DEADLINE_S * 20):
            if least() >= WANTED:
                break
            await asyncio.sleep(0.05)
        loop.stop()

    loop.create_task(until_enough())
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()

    for symbol in symbols:
        counts = f"{len(trades[symbol])} trades, {len(books[symbol])} books, {len(tickers[symbol])} tickers of {symbol}"
        verify(least() >= WANTED, f"it received {counts}", counts)
        ids = [int(t.id) for t in trades[symbol]]
        steps = [int(t.raw["count"]) for t in trades[symbol]]
        follows = all(b - n == a for a, b, n in zip(ids, ids[1:], steps[1:]))
        verify(follows, "trade ids follow each other", list(zip(ids, steps))[:5])
        verify(all(bid < ask for bid, ask, _ in books[symbol]), "no book is crossed", books[symbol][:3])
        # It raises BadChecksum and connects anew where one is wrong: the books would not go on.
        verify(all(checksum for _, _, checksum in books[symbol]), "each book has a checksum, which it found right")
        verify(all(t.bid < t.ask for t in tickers[symbol]), "no quote is crossed")
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
