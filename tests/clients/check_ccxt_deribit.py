#!/usr/bin/env python3
"""The simulated Deribit, seen through ccxt's Deribit class as it is, its address aside: spot, linear and inverse perpetual."""

import ccxt

from common import arguments, verify

SYMBOLS = ["BTC/USDC", "BTC/USDC:USDC", "BTC/USD:BTC"]
MINUTE = 60_000


def check(exchange, symbol):
    market = exchange.market(symbol)
    inverse = bool(market["inverse"])
    verify(market["active"] and market["limits"]["amount"]["min"] > 0, f"{symbol} is active", market)

    candles = exchange.fetch_ohlcv(symbol, "1m", limit=300)
    verify(len(candles) >= 299, "fetch_ohlcv: 300 candles", len(candles))
    verify(all(b[0] - a[0] == MINUTE for a, b in zip(candles, candles[1:])), "without holes, oldest first")
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] for c in candles), "low <= open, close <= high")
    since = candles[-1][0] - 400 * 86_400_000
    old = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=100)
    verify(len(old) == 100 and old[0][0] == since, "fetch_ohlcv: a hundred of more than a year before", old[:1], since)

    # An hour, built again from its trades, page by page.
    begin = candles[230][0]
    trades, since = {}, begin
    while True:
        params = {"sorting": "asc", "until": begin + 60 * MINUTE - 1}
        page = exchange.fetch_trades(symbol, since=since, limit=7, params=params)
        fresh = [t for t in page if int(t["info"]["trade_seq"]) not in trades]
        trades.update((int(t["info"]["trade_seq"]), t) for t in page)
        if not fresh:
            break
        since = page[-1]["timestamp"]
    verify(len(trades) > 20, f"fetch_trades: {len(trades)} trades of an hour", len(trades))
    verify(max(trades) - min(trades) == len(trades) - 1, "their numbers are contiguous")
    wrong = []
    for open_time, open_, high, low, close, volume in candles[230:290]:
        rows = [t for _, t in sorted(trades.items()) if open_time <= t["timestamp"] < open_time + MINUTE]
        prices = [t["price"] for t in rows]
        if prices and (prices[0], max(prices), min(prices), prices[-1]) != (open_, high, low, close):
            wrong.append((open_time, prices, open_, high, low, close))
        # Amounts of the inverse perpetual are US dollars, volumes of its candles bitcoin.
        traded = sum(t["amount"] / t["price"] if inverse else t["amount"] for t in rows)
        if abs(traded - volume) > 1e-6:
            wrong.append((open_time, volume, traded))
    verify(not wrong, "they make the candles of this hour", wrong[:2])
    if inverse:
        verify(all(t["amount"] % 10 == 0 for t in trades.values()), "amounts are multiples of ten US dollars")

    book = exchange.fetch_order_book(symbol, limit=20)
    verify(len(book["bids"]) == len(book["asks"]) == 20, "fetch_order_book: 20 levels a side")
    verify(book["bids"][0][0] < book["asks"][0][0], "not crossed", book["bids"][0], book["asks"][0])
    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "fetch_ticker agrees with itself", ticker)


def main():
    args = arguments(__doc__)
    exchange = ccxt.deribit({"timeout": 10_000})
    exchange.urls["api"]["rest"] = args.rest_url
    markets = exchange.load_markets()
    verify(all(symbol in markets for symbol in SYMBOLS), f"load_markets: {len(markets)} markets", list(markets))
    kinds = (markets[SYMBOLS[0]]["spot"], markets[SYMBOLS[1]]["linear"], markets[SYMBOLS[2]]["inverse"])
    verify(all(kinds), "one is spot, one a linear perpetual, one an inverse one", kinds)
    verify(exchange.fetch_status()["status"] == "ok", "fetch_status: ok")
    verify("BTC" in exchange.fetch_currencies(), "fetch_currencies: bitcoin is one")
    for symbol in SYMBOLS:
        check(exchange, symbol)
    tickers = exchange.fetch_tickers(SYMBOLS[2:], {"code": "BTC"})
    verify(list(tickers) == SYMBOLS[2:], "fetch_tickers: by currency", list(tickers))
    try:
        exchange.publicGetGetOrderBook({"instrument_name": "NONE"})
        verify(False, "an unknown instrument is refused")
    except ccxt.BadRequest as error:
        verify("instrument not found" in str(error), "an unknown instrument is refused as ccxt expects it", str(error))
    # Without its own limit of requests it runs out of credits.
    exchange.enableRateLimit = False
    try:
        for _ in range(500):
            exchange.fetch_time()
        verify(False, "who asks too often is refused")
    except ccxt.DDoSProtection as error:
        verify("10028" in str(error) or "429" in str(error), "who asks too often is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
