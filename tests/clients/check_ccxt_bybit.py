#!/usr/bin/env python3
"""The simulated Bybit, seen through ccxt's Bybit class as it is, its addresses aside: spot and swap over REST."""

import time

import ccxt

from common import arguments, get, post, verify

MINUTE_MS = 60_000


def client(args, kind):
    exchange = ccxt.bybit({"timeout": 10_000, "options": {"defaultType": kind, "fetchMarkets": {"types": ["spot", "linear"]}}})
    exchange.urls["api"] = {name: args.rest_url for name in exchange.urls["api"]}
    exchange.has["fetchCurrencies"] = False
    return exchange


def check(args, kind, symbol):
    exchange = client(args, kind)
    market = exchange.load_markets()[symbol]
    verify(market["spot"] == (kind == "spot") and market["swap"] == (kind == "swap"), f"{symbol} is a {kind} market")
    verify(market["precision"]["price"] > 0 and market["precision"]["amount"] > 0, "its steps are known", market["precision"])

    since = (int(time.time() * 1_000) // MINUTE_MS - 3_000) * MINUTE_MS
    candles = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=1_000)
    times = [c[0] for c in candles]
    verify(times == list(range(since, since + 1_000 * MINUTE_MS, MINUTE_MS)), f"{symbol}: 1000 candles from a start on", times[:3])
    paged, until = [], since + 2_500 * MINUTE_MS
    while not paged or paged[0][0] > since:
        end = paged[0][0] - MINUTE_MS if paged else until
        paged = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=1_000, params={"until": end}) + paged
    opens = [c[0] for c in paged]
    verify(
        len(opens) == 2_501 and all(b - a == MINUTE_MS for a, b in zip(opens, opens[1:])),
        f"{len(opens)} candles by pages, without holes",
        opens[:3],
    )
    verify(paged[:1_000] == candles, "the same as on the page")
    verify(all(c[3] <= min(c[1], c[4]) and max(c[1], c[4]) <= c[2] for c in paged), "low <= open, close <= high")
    hour = since // 3_600_000 * 3_600_000 + 3_600_000
    whole = exchange.fetch_ohlcv(symbol, "1h", since=hour, limit=1)[0]
    parts = [c for c in paged if hour <= c[0] < hour + 3_600_000]
    verify(
        len(parts) == 60 and whole[2] == max(c[2] for c in parts) and abs(whole[5] - sum(c[5] for c in parts)) < 1e-6,
        "an hour is its minutes",
        whole,
    )

    trades = exchange.fetch_trades(symbol, limit=50)
    stamps = [t["timestamp"] for t in trades]
    verify(len(trades) == 50 and stamps == sorted(stamps), "fetch_trades: 50 in order", stamps[:3])
    verify(len({t["id"] for t in trades}) == 50, "each with an id of its own")
    verify(all(t["side"] in ("buy", "sell") and t["price"] > 0 for t in trades), "with side and price")

    post(f"{args.rest_url}/sim/pause")
    try:
        book = exchange.fetch_order_book(symbol, limit=50)
        verify(len(book["bids"]) == 50 and book["bids"][0][0] < book["asks"][0][0], "fetch_order_book: 50 levels, not crossed")
        ticker = exchange.fetch_ticker(symbol)
        best = (ticker["bid"], ticker["ask"])
        verify(best == (book["bids"][0][0], book["asks"][0][0]), "fetch_ticker: the book's best prices", best)
        verify(ticker["low"] <= ticker["last"] <= ticker["high"], "its last price is within the day", ticker)
    finally:
        post(f"{args.rest_url}/sim/resume")

    try:
        exchange.publicGetV5MarketKline({"category": market["type"].replace("swap", "linear"), "symbol": "NOPE", "interval": "1"})
        verify(False, "an unknown symbol is refused")
    except ccxt.BadRequest as error:
        verify("10001" in str(error), "an unknown symbol is refused with status 200 and code 10001", error)


def main():
    args = arguments(__doc__)
    verify(abs(int(get(f"{args.rest_url}/v5/market/time")["result"]["timeSecond"]) - time.time()) < 5, "the time is told")
    check(args, "spot", "BTC/USDT")
    check(args, "swap", "BTC/USDT:USDT")


if __name__ == "__main__":
    main()
