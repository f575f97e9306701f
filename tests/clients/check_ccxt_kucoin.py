#!/usr/bin/env python3
"""The simulated KuCoin, seen through ccxt's KuCoin class as it is, its address aside: spot."""

import urllib.error

import ccxt

from common import arguments, get, verify


def check(exchange, symbol):
    market = exchange.market(symbol)
    verify(market["active"] and market["spot"] and market["precision"]["price"] == 0.1, f"{symbol} is active, its tick a tenth", market)
    verify(exchange.fetch_time() > 1_700_000_000_000, "fetch_time: a time of today in milliseconds")
    verify(exchange.fetch_status()["status"] == "ok", "fetch_status: ok")

    candles = exchange.fetch_ohlcv(symbol, "1m", limit=300)
    verify(250 < len(candles) <= 301, f"fetch_ohlcv: {len(candles)} candles of five hours", len(candles))
    verify(all(a[0] < b[0] for a, b in zip(candles, candles[1:])), "oldest first")
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] and c[5] > 0 for c in candles), "low <= open, close <= high, and traded")
    since = candles[-1][0] - 400 * 86_400_000
    old = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=100)
    times = [c[0] for c in old]
    verify(times and since <= times[0] and times[-1] < since + 100 * 60_000, "fetch_ohlcv: those of more than a year before", times[:2], since)
    page = exchange.fetch_ohlcv(symbol, "1m", since=since - 1_500 * 60_000, limit=1_500)
    verify(1_000 < len(page) <= 1_500, f"a whole page has {len(page)} candles, those without a trade left out", len(page))
    days = exchange.fetch_ohlcv(symbol, "1d", since=since - 30 * 86_400_000, limit=30)
    verify(len(days) == 30 and all(c[0] % 86_400_000 == 0 for c in days), "days begin at midnight in UTC", days[:2])

    trades = exchange.fetch_trades(symbol)
    verify(len(trades) == 100, "fetch_trades: the last hundred", len(trades))
    sequences = [int(t["info"]["sequence"]) for t in trades]
    verify(all(a < b for a, b in zip(sequences, sequences[1:])), "their numbers grow", sequences[:5])
    now = exchange.fetch_ohlcv(symbol, "1h", limit=2)
    span = [min(c[3] for c in now), max(c[2] for c in now)]
    verify(all(span[0] <= t["price"] <= span[1] for t in trades), "their prices are within this hour's", span)

    for limit in (20, 100):
        book = exchange.fetch_order_book(symbol, limit=limit)
        verify(len(book["bids"]) == len(book["asks"]) == limit and book["nonce"], f"fetch_order_book: {limit} levels a side with a number")
        verify(book["bids"][0][0] < book["asks"][0][0], "not crossed", book["bids"][0], book["asks"][0])
    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"] and ticker["bid"] < ticker["ask"], "fetch_ticker agrees with itself", ticker)
    tickers = exchange.fetch_tickers()
    verify(symbol in tickers and len(tickers) == len(exchange.markets), f"fetch_tickers: {len(tickers)} of them")


def main():
    args = arguments(__doc__)
    exchange = ccxt.kucoin({"timeout": 10_000, "rateLimit": 1})
    exchange.urls["api"]["public"] = args.rest_url
    # Contracts are on another exchange's address.
    exchange.options["fetchMarkets"] = {"types": ["spot"], "fetchTickersFees": True}
    markets = exchange.load_markets()
    verify(args.symbol in markets and markets[args.symbol]["taker"] == 0.001, f"load_markets: {len(markets)} markets with their fees", list(markets))
    check(exchange, args.symbol)
    try:
        exchange.publicGetMarketCandles({"symbol": "NO-PAIR", "type": "1min"})
        verify(False, "an unknown market is refused")
    except ccxt.BadRequest as error:
        verify("400100" in str(error), "an unknown market is refused as ccxt expects it", str(error))
    try:
        get(f"{args.rest_url}/api/v3/market/orderbook/level2?symbol=BTC-USDT")
        verify(False, "the whole book is refused without a login")
    except urllib.error.HTTPError as error:
        verify(error.code == 401, "the whole book is refused without a login", error.code)


if __name__ == "__main__":
    main()
