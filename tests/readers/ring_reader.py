#!/usr/bin/env python3
"""Reads a dccd ring (layout 1) without dccd: shared memory, mmap and struct, nothing else.

    ring_reader.py dccd.main.binance.BTC-USDT.trades [-n N] [--from oldest|newest] [--json] [--timeout S]

Prints records to stdout, remarks to stderr. Without -n: from oldest, what is there now; from newest, until Ctrl-C.
Exit code 0 when all that was asked for was printed, 1 when not (the message says why), 2 for wrong arguments.
"""

import argparse
import json
import mmap
import os
import struct
import sys
import time
from decimal import Decimal

HEADER_SIZE, SHM = 4096, "/dev/shm"
KINDS = {1: "trade", 2: "quote", 3: "book", 4: "candle"}
STATES = {0: "closed", 1: "live", 2: "stale", 3: "syncing"}
FLAGS = {1: "first", 2: "last", 4: "snapshot", 8: "suspect", 16: "wide_id", 32: "closed", 128: "gap"}


class RingError(Exception):
    """What is wrong with the ring, for the user."""


def decimal(mantissa, exponent):
    """The exact number, no rounding anywhere."""
    return Decimal((int(mantissa < 0), tuple(map(int, str(abs(mantissa)))), exponent))


def trade(slot):
    venue, recv, price, amount, low, pe, ae, side, flags, epoch, high = struct.unpack_from("<qqqqQbbBBIQ", slot, 8)
    wide = high << 64 | low
    if flags & 128:  # a gap: the halves are the last id seen and the next one, 0 where unknown
        return {"ts_recv": recv, "gap_after_id": low or None, "gap_before_id": high or None, "epoch": epoch, "flags": flags}
    return {
        "ts_venue": venue, "ts_recv": recv, "price": decimal(price, pe), "amount": decimal(amount, ae),
        "side": {1: "buy", 2: "sell"}.get(side), "id": f"{wide:032x}" if flags & 16 else str(wide),
        "epoch": epoch, "flags": flags,
    }  # fmt: skip


def quote(slot):
    venue, recv, bid, bid_amount, ask, ask_amount, be, bae, ae, aae, flags = struct.unpack_from("<qqqqqqbbbbB", slot, 8)
    return {
        "ts_venue": venue, "ts_recv": recv, "bid": decimal(bid, be), "bid_amount": decimal(bid_amount, bae),
        "ask": decimal(ask, ae), "ask_amount": decimal(ask_amount, aae), "flags": flags,
    }  # fmt: skip


def book(slot):
    venue, recv, price, amount, update, pe, ae, side, flags, epoch, count = struct.unpack_from("<qqqqQbbBBII", slot, 8)
    return {
        "ts_venue": venue, "ts_recv": recv, "side": {1: "bid", 2: "ask"}.get(side), "price": decimal(price, pe),
        "amount": decimal(amount, ae), "update_id": update, "epoch": epoch, "count": count or None, "flags": flags,
    }  # fmt: skip


def candle(slot):
    opened, recv, *mantissas = struct.unpack_from("<8q", slot, 8)
    trades, span, *exponents, flags = struct.unpack_from("<QI6bB", slot, 72)
    names = ("open", "high", "low", "close", "volume", "quote_volume")
    values = {name: decimal(m, e) for name, m, e in zip(names, mantissas, exponents)}
    return {"ts_open": opened, "ts_recv": recv, **values, "trades": trades, "span": span, "flags": flags}


DECODE = {1: trade, 2: quote, 3: book, 4: candle}


class Ring:
    """One ring, mapped read-only."""

    def __init__(self, name):
        path = os.path.join(SHM, name)
        try:
            with open(path, "rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except FileNotFoundError:
            there = sorted(n for n in os.listdir(SHM) if n.startswith("dccd.") and "~" not in n)
            listing = "\n  ".join(["rings that are there:", *there]) if there else "there are no rings at all"
            raise RingError(f"there is no ring {name} in {SHM}; is its feed open and the daemon running?\n{listing}") from None
        except (OSError, ValueError) as error:
            raise RingError(f"can't read {path}: {error}") from None
        if len(self.map) < HEADER_SIZE or self.map[:8] != b"DCCDRING":
            raise RingError(f"{path} is no dccd ring")
        layout, self.kind, self.slot_size, header, self.capacity = struct.unpack_from("<IIIIQ", self.map, 8)
        if layout != 1 or header != HEADER_SIZE or self.kind not in KINDS:
            raise RingError(f"{path} has layout {layout}, kind {self.kind}; this reader knows layout 1, kinds 1 to 4")
        self.words = memoryview(self.map).cast("Q")  # aligned loads of 8 bytes, never halves of them

    def text(self, offset, size):
        return self.map[offset : offset + size].split(b"\0")[0].decode("utf-8", "replace")

    def cursor(self):
        return self.words[320 // 8]

    def describe(self):
        generation, pid, state = struct.unpack_from("<QII", self.map, 256)
        heartbeat, gaps = struct.unpack_from("<qQ", self.map, 280)
        return (
            f"{self.text(40, 32)} {self.text(72, 64)} {self.text(136, 32)}: {KINDS[self.kind]} records, "
            f"{STATES.get(state, state)}, {self.cursor()} published, {self.capacity} slots, {gaps} gaps, "
            f"writer {pid} (generation {generation}, heartbeat {(time.time_ns() - heartbeat) / 1e9:.1f} s ago)"
        )

    def read(self, sequence):
        """The slot's bytes, None if it is not published yet, or how many records were lost as an int."""
        start = HEADER_SIZE + sequence % self.capacity * self.slot_size
        stamp = self.words[start // 8]
        if stamp == sequence + 1:
            slot = self.map[start : start + self.slot_size]
            if self.words[start // 8] == sequence + 1:
                return slot
        elif stamp <= sequence and self.cursor() <= sequence:
            return None
        elif self.words[start // 8] == sequence + 1:
            return self.read(sequence)  # published between our two looks
        # Overwritten, or being overwritten right now: go on where the writer won't be for a while.
        return max(self.cursor() - self.capacity + self.capacity // 8, sequence + 1) - sequence


def show(sequence, record, as_json):
    flags = [name for bit, name in FLAGS.items() if record["flags"] & bit]
    record = {k: format(v, "f") if isinstance(v, Decimal) else v for k, v in {**record, "flags": flags}.items()}
    if as_json:
        return json.dumps({"sequence": sequence, **record})
    return " ".join([str(sequence), *(f"{k}={','.join(v) if isinstance(v, list) else v}" for k, v in record.items())])


def follow(ring, arguments):
    end = ring.cursor()
    sequence = end if arguments.start == "newest" else max(end - ring.capacity, 0)
    wanted = arguments.n if arguments.n is not None else float("inf")
    dump = arguments.n is None and arguments.start == "oldest"
    deadline, printed = time.monotonic() + arguments.timeout, 0
    while printed < wanted and not (dump and sequence >= end):
        slot = ring.read(sequence)
        if slot is None:
            if arguments.n is not None and time.monotonic() > deadline:
                raise RingError(f"only {printed} of {wanted} records came within {arguments.timeout} s\n{ring.describe()}")
            sys.stdout.flush()
            time.sleep(0.001)
        elif isinstance(slot, int):
            print(f"ring_reader: lapped, {slot} records lost", file=sys.stderr)
            sequence += slot
        else:
            print(show(sequence, DECODE[ring.kind](slot), arguments.json))
            sequence, printed = sequence + 1, printed + 1


def main():
    parser = argparse.ArgumentParser(description="Reads a dccd ring (layout 1).")
    parser.add_argument("name", help="the ring's name under /dev/shm, e.g. dccd.main.binance.BTC-USDT.trades")
    parser.add_argument("-n", type=int, metavar="N", help="print N records, wait for them if need be")
    parser.add_argument("--from", dest="start", choices=("oldest", "newest"), default="oldest")
    parser.add_argument("--json", action="store_true", help="one JSON object a line; prices and amounts are strings")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="how long to wait for N records (10)")
    arguments = parser.parse_args()
    try:
        ring = Ring(arguments.name)
        print(f"ring_reader: {ring.describe()}", file=sys.stderr)
        follow(ring, arguments)
        sys.stdout.flush()
    except RingError as error:
        print(f"ring_reader: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
