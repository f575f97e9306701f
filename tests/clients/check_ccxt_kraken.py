#!/usr/bin/env python3
"""The simulated Kraken, seen through ccxt's Kraken class as it is, its address aside."""

import ccxt

from common import arguments, verify


def main():
    args = arguments(__doc__)
    exchange = ccxt.kraken({"timeout": 10_000, "rateLimit": 1})
    exchange.urls["api"]["public"] = args.rest_url
    symbol = args.symbol.replace("USDT", "USD")

    markets = exchange.load_markets()
    verify(symbol in markets, f"load_markets: {len(markets)} markets, {symbol} among them", list(markets))
    market = markets[symbol]
    verify(market["active"] and market["spot"] and market["id"] == "XXBTZUSD", "it is an active spot market", market)
    verify(market["precision"]["price"] == 0.1, "its price precision is the tick size", market["precision"])

    candles = exchange.fetch_ohlcv(symbol, "1m")
    verify(len(candles) == 721, "fetch_ohlcv: 720 closed candles and the open one", len(candles))
    verify(all(b[0] - a[0] == 60_000 for a, b in zip(candles, candles[1:])), "without holes")
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] for c in candles), "low <= open, close <= high")

    # Two hours, built again from its trades, page by page.
    start = candles[540][0]
    trades, since = {}, start
    while since < candles[660][0]:
        page = exchange.fetch_trades(symbol, params={"since": since * 1_000_000 - 1})
        verify(page, f"fetch_trades: {len(page)} trades from {exchange.iso8601(since)}")
        trades.update((t["id"], t) for t in page)
        if page[-1]["timestamp"] <= since:
            break
        since = page[-1]["timestamp"]
    ids = sorted(int(id) for id in trades if id.isdigit() and len(id) < 15)
    verify(len(ids) > 100 and ids[-1] - ids[0] < 2 * len(ids), "their ids are close together", ids[:3], ids[-3:])
    wrong = []
    for open_time, open_, high, low, close, _ in candles[540:660]:
        prices = [t["price"] for t in trades.values() if open_time <= t["timestamp"] < open_time + 60_000]
        if prices and (prices[0], max(prices), min(prices), prices[-1]) != (open_, high, low, close):
            wrong.append((open_time, prices, open_, high, low, close))
    verify(not wrong, "they make the candles of these hours", wrong[:2])

    book = exchange.fetch_order_book(symbol, limit=20)
    verify(len(book["bids"]) == len(book["asks"]) == 20, "fetch_order_book: 20 levels a side")
    verify(book["bids"][0][0] < book["asks"][0][0], "not crossed", book["bids"][0], book["asks"][0])
    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "fetch_ticker agrees with itself", ticker)

    try:
        exchange.publicGetTrades({"pair": "NOSUCH"})
        verify(False, "an unknown pair is refused")
    except ccxt.ExchangeError as error:
        verify("Unknown asset pair" in str(error), "an unknown pair is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
