#!/usr/bin/env python3
"""The simulated Coinbase, seen through ccxt's class of Coinbase Exchange as it is, its address aside."""

import ccxt

from common import arguments, verify


def main():
    args = arguments(__doc__)
    exchange = ccxt.coinbaseexchange({"timeout": 10_000, "rateLimit": 1})
    exchange.urls["api"]["public"] = args.rest_url
    symbol = args.symbol.replace("USDT", "USD")

    markets = exchange.load_markets()
    verify(symbol in markets, f"load_markets: {len(markets)} markets, {symbol} among them", list(markets))
    market = markets[symbol]
    verify(market["active"] and market["spot"] and market["id"] == "BTC-USD", "it is an active spot market", market)
    verify(market["precision"] == {"price": 0.01, "amount": 1e-8}, "its steps are a cent and 1e-8", market["precision"])
    verify(exchange.currencies["BTC"]["type"] == "crypto", "fetch_currencies: BTC is one", exchange.currencies["BTC"])
    verify(abs(exchange.fetch_time() - exchange.milliseconds()) < 60_000, "fetch_time is now")

    newest = exchange.fetch_ohlcv(symbol, "1m")
    verify(300 < len(newest) <= 350, "fetch_ohlcv: 350 at most, quiet minutes left out", len(newest))
    verify(all(b[0] > a[0] for a, b in zip(newest, newest[1:])), "oldest first")
    verify(all(c[3] <= min(c[1], c[4]) <= max(c[1], c[4]) <= c[2] for c in newest), "low <= open, close <= high")
    since = newest[-1][0] - 400 * 86_400_000
    old = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=100)
    verify(80 < len(old) <= 100 and old[0][0] >= since, "fetch_ohlcv: a hundred minutes of more than a year before", len(old))
    try:
        exchange.fetch_ohlcv(symbol, "1m", since=since, params={"until": since + 301 * 60_000})
        verify(False, "more than 300 are refused")
    except ccxt.ExchangeError as error:
        verify("Count of aggregations requested exceeds 300" in str(error), "more than 300 are refused", str(error))

    # An hour, built again from its trades, page by page.
    trades, after = {}, None
    begin, end = newest[-90][0], newest[-30][0]
    while not trades or min(t["timestamp"] for t in trades.values()) >= begin:
        page = exchange.fetch_trades(symbol, limit=200, params={"after": after} if after else {})
        verify(page and (after is None or int(page[-1]["id"]) == after - 1), f"fetch_trades: {len(page)} below {after}", page[-1:])
        trades.update((int(t["id"]), t) for t in page)
        after = min(trades)
    verify(max(trades) - min(trades) == len(trades) - 1, "their ids are contiguous")
    # ccxt gives the taker's side, the exchange the maker's.
    turned = all(t["side"] != t["info"]["side"] for t in trades.values())
    verify(turned, "their sides are those of the orders that rested")
    wrong, minutes = [], 0
    for open_time, open_, high, low, close, volume in newest:
        if not begin <= open_time < end:
            continue
        rows = [t for _, t in sorted(trades.items()) if open_time <= t["timestamp"] < open_time + 60_000]
        prices = [t["price"] for t in rows]
        made = prices and (prices[0], max(prices), min(prices), prices[-1]) == (open_, high, low, close)
        if not made or abs(sum(t["amount"] for t in rows) - volume) > 1e-6:
            wrong.append((open_time, prices, open_, high, low, close, volume))
        minutes += 1
    verify(not wrong and minutes > 50, f"they make the {minutes} candles of this hour", wrong[:2])

    book = exchange.fetch_order_book(symbol)
    verify(len(book["bids"]) > 500 < len(book["asks"]) and book["nonce"], "fetch_order_book: all of it, with its sequence")
    verify(book["bids"][0][0] < book["asks"][0][0], "not crossed", book["bids"][0], book["asks"][0])
    ticker = exchange.fetch_ticker(symbol)
    verify(ticker["bid"] < ticker["ask"], "fetch_ticker: not crossed", ticker)
    stats = exchange.publicGetProductsIdStats({"id": "BTC-USD"})
    low, last, high = (float(stats[key]) for key in ("low", "last", "high"))
    verify(low <= last <= high, "the statistics agree with themselves", stats)
    try:
        exchange.publicGetProductsIdTrades({"id": "NO-SUCH"})
        verify(False, "an unknown product is refused")
    except ccxt.OrderNotFound as error:
        verify("NotFound" in str(error), "an unknown product is refused as ccxt expects it", str(error))


if __name__ == "__main__":
    main()
