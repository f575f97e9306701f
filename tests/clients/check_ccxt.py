#!/usr/bin/env python3
"""The REST side of the simulated exchange, seen through ccxt's Binance class as it is, its addresses aside."""

import ccxt

from common import arguments, get, verify


def client(rest_url):
    exchange = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"}, "timeout": 10_000})
    exchange.urls["api"]["public"] = f"{rest_url}/api/v3"
    return exchange


def main():
    args = arguments(__doc__)
    exchange = client(args.rest_url)
    symbol = args.symbol
    id = symbol.replace("/", "")

    markets = exchange.load_markets()
    info = get(f"{args.rest_url}/api/v3/exchangeInfo")
    verify(len(markets) == len(info["symbols"]), f"load_markets: {len(markets)} markets, as exchangeInfo has them", list(markets))
    market = markets[symbol]
    tick = next(f for s in info["symbols"] if s["symbol"] == id for f in s["filters"] if f["filterType"] == "PRICE_FILTER")
    verify(market["active"] and market["spot"], f"{symbol} is an active spot market", market)
    verify(market["precision"]["price"] == float(tick["tickSize"]), "its price precision is the tick size", market["precision"])

    clock = exchange.fetch_time()
    verify(abs(clock - exchange.milliseconds()) < 5_000, "fetch_time is the host's time", clock)

    candles = exchange.fetch_ohlcv(symbol, "1m", limit=30)
    verify(len(candles) == 30, "fetch_ohlcv: 30 candles", len(candles))
    verify(all(b[0] - a[0] == 60_000 for a, b in zip(candles, candles[1:])), "they follow each other", candles)
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] for c in candles), "low <= open, close <= high", candles)

    # One closed minute, built again from its trades.
    start, open_, high, low, close, volume = candles[-3]
    trades = exchange.fetch_trades(symbol, since=start, limit=1000, params={"until": start + 59_999})
    while trades and len(trades) % 1000 == 0:
        trades += exchange.fetch_trades(symbol, limit=1000, params={"fromId": int(trades[-1]["id"]) + 1})
    trades = [t for t in trades if start <= t["timestamp"] < start + 60_000]
    verify(trades, f"fetch_trades: {len(trades)} trades in the minute of {exchange.iso8601(start)}")
    ids = [int(t["id"]) for t in trades]
    verify(ids == list(range(ids[0], ids[0] + len(ids))), "their ids are contiguous", ids[:5], ids[-5:])
    verify(all(t["side"] in ("buy", "sell") for t in trades), "each has a taker's side")
    prices = [t["price"] for t in trades]
    built = (prices[0], max(prices), min(prices), prices[-1])
    verify(built == (open_, high, low, close), "they make the candle's open, high, low, close", built, candles[-3])
    amount = sum(t["amount"] for t in trades)
    verify(abs(amount - volume) < 1e-8 * max(1, volume), "and its volume", amount, volume)

    book = exchange.fetch_order_book(symbol, limit=100)
    bids, asks = book["bids"], book["asks"]
    verify(len(bids) == len(asks) == 100, "fetch_order_book: 100 levels a side", len(bids), len(asks))
    verify(bids == sorted(bids, key=lambda l: -l[0]) and asks == sorted(asks, key=lambda l: l[0]), "best first")
    verify(bids[0][0] < asks[0][0], "not crossed", bids[0], asks[0])
    verify(book["nonce"] > 0, "with an update id", book["nonce"])

    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["bid"] < ticker["ask"] and ticker["low"] <= ticker["last"] <= ticker["high"], "fetch_ticker agrees with itself", ticker)

    try:
        exchange.publicGetDepth({"symbol": "NOSUCH"})
        verify(False, "an unknown symbol is refused")
    except ccxt.BadSymbol as error:
        verify("-1121" in str(error), "an unknown symbol is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
