#!/usr/bin/env python3
"""The simulated Bybit, seen through cryptofeed's Bybit class as it is, its addresses aside: spot and perpetuals."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges import Bybit

from common import arguments, verify

WANTED = 30
DEADLINE_S = 40


def local(args):
    class Local(Bybit):
        # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
        websocket_endpoints = [
            WebsocketEndpoint(
                endpoint.address.replace("wss://stream.bybit.com", args.ws_url.replace("ws://", "wss://")),
                instrument_filter=endpoint.instrument_filter,
                channel_filter=endpoint.channel_filter,
            )
            for endpoint in Bybit.websocket_endpoints[:2]
        ]
        paths = [f"/v5/market/instruments-info?&category={kind}&status=Trading&limit=1000" for kind in ("linear", "spot")]
        rest_endpoints = [RestEndpoint(args.rest_url, routes=Routes(paths))]

        def connect(self):
            connections = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://")
            return connections

    return Local


def main():
    args = arguments(__doc__)
    symbols = ["BTC-USDT", "BTC-USDT-PERP"]
    trades, books = {symbol: [] for symbol in symbols}, {symbol: [] for symbol in symbols}
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades[trade.symbol].append(trade)

    async def on_book(book, _received):
        books[book.symbol].append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], len(book.book.bids)))

    callbacks = {TRADES: on_trade, L2_BOOK: on_book}
    handler.add_feed(local(args)(symbols=symbols, channels=[TRADES, L2_BOOK], callbacks=callbacks))

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def until_enough():
        for _ in range(DEADLINE_S * 20):
            if min(len(rows) for kind in (trades, books) for rows in kind.values()) >= WANTED:
                break
            await asyncio.sleep(0.05)
        loop.stop()

    loop.create_task(until_enough())
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()

    for symbol in symbols:
        counts = f"{len(trades[symbol])} trades, {len(books[symbol])} books of {symbol}"
        verify(min(len(trades[symbol]), len(books[symbol])) >= WANTED, f"it received {counts}", counts)
        ids = [t.id for t in trades[symbol]]
        verify(len(set(ids)) == len(ids), "each trade has an id of its own", ids[:5])
        verify(all(bid < ask for bid, ask, _ in books[symbol]), "no book is crossed", books[symbol][:3])
        verify(all(depth <= 200 for _, _, depth in books[symbol]), "none is deeper than was asked for", books[symbol][-3:])
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
