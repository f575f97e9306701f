#!/usr/bin/env python3
"""The simulated Deribit, seen through cryptofeed's Deribit class as it is, its addresses aside: a linear and an inverse perpetual."""

import asyncio
import os
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L1_BOOK, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Deribit

from common import arguments, verify

WANTED = 30
DEADLINE_S = 40


def local(args):
    class Local(Deribit):
        # It takes wss addresses only; the simulated exchange speaks plain ws on loopback.
        websocket_endpoints = [WebsocketEndpoint(args.ws_url.replace("ws://", "wss://") + "/ws/api/v2")]
        rest_endpoints = [
            RestEndpoint(args.rest_url, routes=Routes([f"/api/v2/public/get_instruments?currency={c}" for c in ("BTC", "USDC")]))
        ]

        def connect(self):
            connections = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://")
            return connections

    return Local


def main():
    args = arguments(__doc__)
    symbols = ["BTC-USD-PERP", "BTC-USDC-PERP"]
    trades, books, tickers, quotes = ({symbol: [] for symbol in symbols} for _ in range(4))
    handler = FeedHandler()

    async def on_trade(trade, _received):
        trades[trade.symbol].append(trade)

    async def on_book(book, _received):
        books[book.symbol].append((book.book.bids.index(0)[0], book.book.asks.index(0)[0], book.sequence_number))

    async def on_ticker(ticker, _received):
        tickers[ticker.symbol].append(ticker)

    async def on_quote(quote, _received):
        quotes[quote.symbol].append(quote)

    callbacks = {TRADES: on_trade, L2_BOOK: on_book, TICKER: on_ticker, L1_BOOK: on_quote}
    # All but the best prices it follows raw, for which it says who it is.
    config = {"deribit": {"key_id": "anybody", "key_secret": "secret"}}
    feed = local(args)(symbols=symbols, channels=list(callbacks), callbacks=callbacks, config=config)
    handler.add_feed(feed)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def least():
        return min(len(seen[symbol]) for seen in (trades, books, tickers, quotes) for symbol in symbols)

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
        counts = f"{len(trades[symbol])} trades, {len(books[symbol])} books, {len(tickers[symbol])} tickers"
        verify(least() >= WANTED, f"it received {counts}, {len(quotes[symbol])} quotes of {symbol}", counts)
        seqs = [t.raw["trade_seq"] for t in trades[symbol]]
        verify(all(b == a + 1 for a, b in zip(seqs, seqs[1:])), "numbers of trades follow each other", seqs[:5])
        # It raises MissingSequenceNumber and connects anew where a change does not name the one before.
        numbers = [number for _, _, number in books[symbol]]
        verify(all(a < b for a, b in zip(numbers, numbers[1:])), "those of its book too, as it checks itself", numbers[:5])
        verify(all(bid < ask for bid, ask, _ in books[symbol]), "no book is crossed", books[symbol][:3])
        verify(all(q.bid_price < q.ask_price for q in quotes[symbol]), "no quote is crossed")
        verify(all(t.bid < t.ask for t in tickers[symbol]), "no ticker is crossed")
    # Its own way of stopping waits for connections that its loop no longer serves.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
