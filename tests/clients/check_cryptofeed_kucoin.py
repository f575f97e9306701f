#!/usr/bin/env python3
"""The simulated KuCoin, seen through cryptofeed's KuCoin class as it is, its addresses aside: the classic socket."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import HTTPSync, RestEndpoint, Routes
from cryptofeed.defines import CANDLES, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import KuCoin

from common import arguments, verify

WANTED = 30
DEADLINE_S = 25


def local(args):
    class Redirected(HTTPSync):
        """It asks for its token at an address of its own."""

        def write(self, address, **more):
            answer = super().write(address.replace("https://api.kucoin.com", args.rest_url), **more)
            # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
            server = answer["data"]["instanceServers"][0]
            server["endpoint"] = server["endpoint"].replace("ws://", "wss://")
            return answer

    class Local(KuCoin):
        http_sync = Redirected()
        rest_endpoints = [
            RestEndpoint(args.rest_url, routes=Routes("/api/v1/symbols", l2book="/api/v3/market/orderbook/level2?symbol={}"))
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
    trades, books, tickers, candles = [], [], [], []
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades.append(trade)

    async def on_book(book, _received):
        books.append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], book.sequence_number, book.delta))

    async def on_ticker(ticker, _received):
        tickers.append(ticker)

    async def on_candle(candle, _received):
        candles.append(candle)

    # The whole book needs a login; any is taken.
    config = {"kucoin": {"key_id": "key", "key_secret": "secret", "key_passphrase": "words"}}
    callbacks = {TRADES: on_trade, L2_BOOK: on_book, TICKER: on_ticker, CANDLES: on_candle}
    channels = [TRADES, L2_BOOK, TICKER, CANDLES]
    feed = local(args)(symbols=[symbol], channels=channels, callbacks=callbacks, config=config, candle_interval="1h")
    handler.add_feed(feed)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def has_enough():
        return min(len(trades), len(books), len(tickers)) >= WANTED and candles

    async def until_enough():
        for _ in range(DEADLINE_S * 20):
            if has_enough():
                break
            await asyncio.sleep(0.05)
        loop.stop()

    loop.create_task(until_enough())
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()

    counts = f"{len(trades)} trades, {len(books)} books, {len(tickers)} tickers, {len(candles)} candles of {symbol}"
    verify(has_enough(), f"it received {counts}", counts)
    ids = [int(t.id) for t in trades]
    verify(all(a < b for a, b in zip(ids, ids[1:])), "the trades' numbers grow", ids[:5])
    verify(all(bid < ask for bid, ask, *_ in books), "no book is crossed", books[:3])
    verify(books[0][3] is None and all(delta is not None for *_, delta in books[1:]), "one book of REST, and changes from then on")
    # The update that the book of REST holds already it applies once more.
    verify(all(a[2] < b[2] for a, b in zip(books[1:], books[2:])), "the books' numbers grow", [b[2] for b in books[:5]])
    verify(all(t.bid < t.ask for t in tickers), "no quote is crossed")
    verify(all(c.low <= c.close <= c.high for c in candles), "low <= close <= high", candles[:1])
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
