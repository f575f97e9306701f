#!/usr/bin/env python3
"""The perpetuals of the simulated Binance over REST, seen through ccxt's binanceusdm as it is, its addresses aside."""

import ccxt

from common import arguments, get, verify


def client(rest_url):
    exchange = ccxt.binanceusdm({"timeout": 10_000})
    exchange.urls["api"]["fapiPublic"] = f"{rest_url}/fapi/v1"
    exchange.urls["api"]["fapiPublicV2"] = f"{rest_url}/fapi/v2"
    return exchange


def main():
    args = arguments(__doc__)
    exchange = client(args.rest_url)
    symbol = "BTC/USDT:USDT"

    markets = exchange.load_markets()
    info = get(f"{args.rest_url}/fapi/v1/exchangeInfo")
    verify(len(markets) == len(info["symbols"]), f"load_markets: {len(markets)} markets, as exchangeInfo has them", list(markets))
    market = markets[symbol]
    verify(market["active"] and market["swap"] and market["linear"], f"{symbol} is an active linear perpetual", market)
    precision = (market["precision"]["price"], market["precision"]["amount"])
    verify(precision == (0.1, 0.001), "its precisions are its steps", precision)
    clock = exchange.fetch_time()
    verify(abs(clock - exchange.milliseconds()) < 5_000, "fetch_time is the host's time", clock)

    candles = exchange.fetch_ohlcv(symbol, "1m", limit=30)
    verify(len(candles) == 30, "fetch_ohlcv: 30 candles", len(candles))
    verify(all(b[0] - a[0] == 60_000 for a, b in zip(candles, candles[1:])), "they follow each other", candles)

    # One closed minute, built again from its trades.
    start, open_, high, low, close, volume = candles[-3]
    trades = exchange.fetch_trades(symbol, since=start, limit=1000, params={"until": start + 59_999})
    while trades and len(trades) % 1000 == 0:
        trades += exchange.fetch_trades(symbol, limit=1000, params={"fromId": int(trades[-1]["id"]) + 1})
    trades = [t for t in trades if start <= t["timestamp"] < start + 60_000]
    verify(trades, f"fetch_trades: {len(trades)} trades in the minute of {exchange.iso8601(start)}")
    ids = [int(t["id"]) for t in trades]
    verify(ids == list(range(ids[0], ids[0] + len(ids))), "their ids are contiguous", ids[:5], ids[-5:])
    prices = [t["price"] for t in trades]
    built = (prices[0], max(prices), min(prices), prices[-1])
    verify(built == (open_, high, low, close), "they make the candle's open, high, low, close", built, candles[-3])
    amount = sum(t["amount"] for t in trades)
    verify(abs(amount - volume) < 1e-8 * max(1, volume), "and its volume", amount, volume)

    # Within an hour of its start, as ccxt asks for it by itself.
    since = exchange.fetch_trades(symbol, since=start, limit=10)
    verify(int(since[0]["id"]) == ids[0], "a start alone gives the oldest from there", since[0]["id"], ids[0])

    book = exchange.fetch_order_book(symbol, limit=100)
    bids, asks = book["bids"], book["asks"]
    verify(len(bids) == len(asks) == 100, "fetch_order_book: 100 levels a side", len(bids), len(asks))
    verify(bids == sorted(bids, key=lambda l: -l[0]) and asks == sorted(asks, key=lambda l: l[0]), "best first")
    verify(bids[0][0] < asks[0][0] and book["nonce"] > 0, "not crossed, with an update id", bids[0], asks[0])
    try:
        exchange.fetch_order_book(symbol, limit=30)
        verify(False, "a depth that there is not is refused")
    except ccxt.BaseError as error:
        verify("-4021" in str(error), "a depth that there is not is refused", str(error))

    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["low"] <= ticker["last"] <= ticker["high"], "fetch_ticker agrees with itself", ticker)
    best = exchange.fetch_bids_asks([symbol])[symbol]
    verify(best["bid"] < best["ask"], "fetch_bids_asks: not crossed", best)
    funding = exchange.fetch_funding_rate(symbol)
    verify(abs(funding["markPrice"] / funding["indexPrice"] - 1) < 0.01, "fetch_funding_rate: mark and index are near", funding)
    paid = exchange.fetch_funding_rate_history(symbol, limit=10)
    verify(len(paid) == 10 and paid[-1]["timestamp"] % 28_800_000 == 0, "fetch_funding_rate_history: each eight hours", paid[:1])
    held = exchange.fetch_open_interest(symbol)
    verify(held["openInterestAmount"] > 0, "fetch_open_interest", held)
    try:
        exchange.fapiPublicGetHistoricalTrades({"symbol": "BTCUSDT"})
        verify(False, "old trades need a key")
    except ccxt.AuthenticationError as error:
        verify(True, "old trades need a key", str(error))
    try:
        exchange.fapiPublicGetDepth({"symbol": "NOSUCH"})
        verify(False, "an unknown symbol is refused")
    except ccxt.BadSymbol as error:
        verify("-1121" in str(error), "an unknown symbol is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
