#!/usr/bin/env python3
"""The simulated Bitfinex, seen through cryptofeed's Bitfinex class as it is, its addresses aside: the sequence verified, books of levels and
of single orders."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, L3_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Bitfinex

from common import arguments, get, verify

WANTED = 60
TICKERS = 5
DEADLINE_S = 40
LISTS = ["pub:list:pair:exchange", "pub:list:currency", "pub:list:pair:futures"]


def local(args):
    class Local(Bitfinex):
        # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
        websocket_endpoints = [WebsocketEndpoint(args.ws_url.replace("ws://", "wss://") + "/ws/2", limit=20)]
        rest_endpoints = [RestEndpoint(args.rest_url, routes=Routes([f"/v2/conf/{name}" for name in LISTS]))]

        def connect(self):
            connections = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://")
            return connections

    return Local


def main():
    args = arguments(__doc__)
    symbols = ["BTC-USDT", "BTC-USD"]
    trades, books, orders, tickers = ({symbol: [] for symbol in symbols} for _ in range(4))
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades[trade.symbol].append(trade)

    async def on_book(book, _received):
        books[book.symbol].append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], book.sequence_number))

    async def on_orders(book, _received):
        orders[book.symbol].append((book.book.bids.index(0)[0], book.book.asks.index(0)[0]))

    async def on_ticker(ticker, _received):
        tickers[ticker.symbol].append(ticker)

    callbacks = {TRADES: on_trade, L2_BOOK: on_book, L3_BOOK: on_orders, TICKER: on_ticker}
    feed = local(args)(symbols=symbols, channels=list(callbacks), callbacks=callbacks)
    handler.add_feed(feed)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def least():
        return min(len(seen[symbol]) for seen in (trades, books, orders) for symbol in symbols)

    async def until_enough():
        for _ in range(DEADLINE_S * 20):
            if least() >= WANTED and min(map(len, tickers.values())) >= TICKERS:
                break
            await asyncio.sleep(0.05)
        loop.stop()

    loop.create_task(until_enough())
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()

    for symbol, id in zip(symbols, ("tBTCUST", "tBTCUSD")):
        counts = f"{len(trades[symbol])} trades, {len(books[symbol])} books, {len(tickers[symbol])} tickers of {symbol}"
        verify(least() >= WANTED, f"it received {counts}", counts)
        # It raises MissingSequenceNumber and connects anew where a number is missing: the numbers would begin anew.
        numbers = [number for _, _, number in books[symbol]]
        verify(numbers == sorted(set(numbers)), "the sequence was whole, by its own check", numbers[:5])
        ids = [int(t.id) for t in trades[symbol]]
        page = get(f"{args.rest_url}/v2/trades/{id}/hist?limit=10000")
        known = {row[0]: row for row in page}
        wrong = [t for t in trades[symbol] if float(t.price) != known[int(t.id)][3] or float(t.amount) != abs(known[int(t.id)][2])]
        verify(not wrong, "each trade is the one over REST", wrong[:1])
        between = [row for row in page if min(ids) <= row[0] <= max(ids)]
        verify(len(between) == len(set(ids)) == len(ids), "each came once, none is missing", len(between), len(ids))
        verify(len(orders[symbol]) > WANTED, f"{len(orders[symbol])} changes of single orders")
        verify(all(float(t.bid) < float(t.ask) for t in tickers[symbol]), "no quote is crossed")
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
