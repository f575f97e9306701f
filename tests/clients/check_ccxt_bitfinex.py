#!/usr/bin/env python3
"""The simulated Bitfinex, seen through ccxt's bitfinex class as it is, its address aside: spot and a perpetual."""

import ccxt

from common import arguments, verify

MINUTE = 60_000


def check(exchange, symbol, id):
    market = exchange.market(symbol)
    verify(market["id"] == id and market["active"], f"{symbol} is {id}", market["id"])

    candles = exchange.fetch_ohlcv(symbol, "1m", limit=500)
    verify(len(candles) == 500, f"fetch_ohlcv: 500 candles of {symbol}", len(candles))
    steps = [b[0] - a[0] for a, b in zip(candles, candles[1:])]
    verify(all(step >= MINUTE and step % MINUTE == 0 for step in steps), "oldest first", steps[:5])
    verify(any(step > MINUTE for step in steps) and all(c[5] > 0 for c in candles), "quiet minutes are left out")
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] for c in candles), "low <= open, close <= high")
    since = candles[-1][0] - 400 * 86_400_000
    old = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=100)
    verify(len(old) == 100 and 0 <= old[0][0] - since < 60 * MINUTE, "fetch_ohlcv: a hundred of more than a year before", old[:1])

    # An hour, built again from its trades.
    begin, end = candles[230][0], candles[290][0]
    trades, since = {}, begin
    while True:
        page = exchange.fetch_trades(symbol, since=since, limit=1000)
        trades.update((t["id"], t) for t in page)
        if len(page) < 1000 or page[-1]["timestamp"] >= end or page[-1]["timestamp"] == since:
            break
        since = page[-1]["timestamp"]
    rows = sorted(trades.values(), key=lambda t: (t["timestamp"], int(t["id"])))
    verify(len(rows) > 30, f"fetch_trades: {len(rows)} trades of an hour", len(rows))
    ids = [int(t["id"]) for t in rows]
    verify(ids == sorted(ids) and ids[-1] - ids[0] > len(ids), "their ids grow and are not counted", ids[:5])
    wrong = []
    for open_time, open_, high, low, close, volume in candles[230:290]:
        of = [t for t in rows if open_time <= t["timestamp"] < open_time + MINUTE]
        prices = [t["price"] for t in of]
        if not prices or (prices[0], max(prices), min(prices), prices[-1]) != (open_, high, low, close):
            wrong.append((open_time, prices, open_, high, low, close))
        if abs(sum(t["amount"] for t in of) - volume) > 1e-6:
            wrong.append((open_time, volume, of))
    verify(not wrong, "they make the candles of this hour", wrong[:2])

    book = exchange.fetch_order_book(symbol, limit=25)
    verify(len(book["bids"]) == len(book["asks"]) == 25, "fetch_order_book: 25 levels a side")
    verify(book["bids"][0][0] < book["asks"][0][0], "not crossed", book["bids"][0], book["asks"][0])
    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "fetch_ticker agrees with itself", ticker)


def main():
    args = arguments(__doc__)
    exchange = ccxt.bitfinex({"timeout": 20_000, "rateLimit": 1})
    exchange.urls["api"]["public"] = args.rest_url
    markets = exchange.load_markets()
    verify(set(markets) == {"BTC/USD", "BTC/USDT", "DOGE/USD", "BTC/USDT:USDT"}, "load_markets: four markets", list(markets))
    verify(markets["BTC/USDT"]["spot"] and markets["BTC/USDT:USDT"]["swap"], "one is spot, the other a perpetual")
    verify(exchange.fetch_status()["status"] == "ok", "fetch_status: ok")
    check(exchange, "BTC/USDT", "tBTCUST")
    check(exchange, "DOGE/USD", "tDOGE:USD")
    check(exchange, "BTC/USDT:USDT", "tBTCF0:USTF0")
    tickers = exchange.fetch_tickers()
    verify(set(tickers) == set(markets), "fetch_tickers: of all markets", list(tickers))
    try:
        exchange.publicGetTradesSymbolHist({"symbol": "tNOSUCH"})
        verify(False, "an unknown symbol is refused")
    except ccxt.BadSymbol as error:
        verify("symbol: invalid" in str(error), "an unknown symbol is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
