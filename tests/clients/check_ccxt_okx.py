#!/usr/bin/env python3
"""The simulated OKX, seen through ccxt's OKX class as it is, its address aside: spot and swap."""

import ccxt

from common import arguments, verify


def check(exchange, symbol, contract):
    market = exchange.market(symbol)
    verify(market["active"] and market["precision"]["price"] == 0.1, f"{symbol} is active, its tick a tenth", market)
    verify((market["contractSize"] or 1) == contract, f"one unit of it is {contract} of {market['base']}", market)

    candles = exchange.fetch_ohlcv(symbol, "1m", limit=300)
    verify(len(candles) == 300, "fetch_ohlcv: 300 candles", len(candles))
    verify(all(b[0] - a[0] == 60_000 for a, b in zip(candles, candles[1:])), "without holes, oldest first")
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] for c in candles), "low <= open, close <= high")
    since = candles[-1][0] - 400 * 86_400_000
    old = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=100)
    verify(len(old) == 100 and old[0][0] == since, "fetch_ohlcv: a hundred of more than a year before", old[:1], since)

    # An hour, built again from its trades, page by page.
    trades, after = {}, None
    begin = candles[230][0]
    while True:
        params = {"method": "publicGetMarketHistoryTrades", **({"after": after} if after else {})}
        page = exchange.fetch_trades(symbol, limit=100, params=params)
        trades.update((int(t["id"]), t) for t in page)
        after = min(trades)
        if not page or page[0]["timestamp"] < begin:
            break
    verify(len(trades) > 50, f"fetch_trades: {len(trades)} trades of an hour and a half", len(trades))
    verify(max(trades) - min(trades) == len(trades) - 1, "their ids are contiguous")
    wrong = []
    for open_time, open_, high, low, close, volume in candles[231:291]:
        rows = [t for _, t in sorted(trades.items()) if open_time <= t["timestamp"] < open_time + 60_000]
        prices = [t["price"] for t in rows]
        if prices and (prices[0], max(prices), min(prices), prices[-1]) != (open_, high, low, close):
            wrong.append((open_time, prices, open_, high, low, close))
        # Its candles are in the base currency, its trades in contracts.
        if abs(sum(t["amount"] for t in rows) * contract - volume) > 1e-6:
            wrong.append((open_time, volume, rows))
    verify(not wrong, "they make the candles of this hour", wrong[:2])

    book = exchange.fetch_order_book(symbol, limit=20)
    verify(len(book["bids"]) == len(book["asks"]) == 20, "fetch_order_book: 20 levels a side")
    verify(book["bids"][0][0] < book["asks"][0][0], "not crossed", book["bids"][0], book["asks"][0])
    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "fetch_ticker agrees with itself", ticker)


def main():
    args = arguments(__doc__)
    exchange = ccxt.okx({"timeout": 10_000, "rateLimit": 1})
    exchange.urls["api"]["rest"] = args.rest_url
    markets = exchange.load_markets()
    spot, swap = args.symbol, f"{args.symbol}:USDT"
    verify(spot in markets and swap in markets, f"load_markets: {len(markets)} markets", list(markets))
    verify(markets[spot]["spot"] and markets[swap]["linear"], "one is spot, the other a linear perpetual")
    check(exchange, spot, 1)
    check(exchange, swap, 0.01)
    try:
        exchange.publicGetMarketTrades({"instId": "NO-SUCH"})
        verify(False, "an unknown instrument is refused")
    except ccxt.BadSymbol as error:
        verify("51001" in str(error), "an unknown instrument is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
