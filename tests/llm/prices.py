#!/usr/bin/env python3
"""Makes the table of prices that the program carries, and what its arithmetic is tested with.

    prices.py table   PRICES.json > assets/model-prices.txt
    prices.py vectors PRICES.json > tests/llm/prices.tsv

PRICES.json has an object `models`, by name: `provider`, `mode`, `max_in`, `max_out`, `caps`,
`usd_per_mtok` (USD per million tokens by bucket, with `batch_`, `priority_` and `flex_` columns),
`usd_per_unit`, `web_search_usd_per_query`, `tiers` (`above_input_tokens`), `ranges` (`from`, `to`),
`off_peak` (`windows`, `usd_per_mtok`), `multipliers`; and `origin`, `licence`, `taken`.

The vectors are computed here, with `decimal`, from that file and not from the table: both the form of
the table and the arithmetic of the program are compared with them.
"""
import datetime
import json
import random
import sys
from decimal import ROUND_HALF_UP, Decimal

SERVICES = {"": "standard", "b": "batch", "p": "priority", "f": "flex"}
COLUMNS = {
    "in": "i", "out": "o", "cache_read": "r", "cache_write": "w", "cache_write_1h": "W",
    "audio_in": "a", "audio_out": "A", "reasoning_out": "t",
}
CODES = dict(COLUMNS)
for letter, service in SERVICES.items():
    if letter:
        for column in ("in", "out", "cache_read", "cache_write"):
            CODES[f"{service}_{column}"] = letter + COLUMNS[column]
CAPABILITIES = {
    "vision": "v", "tools": "t", "parallel_tools": "T", "tool_choice": "c", "json_schema": "j",
    "pdf": "p", "audio_in": "a", "audio_out": "A", "reasoning": "r", "prompt_cache": "k",
    "web_search": "w", "system": "s",
}
MODES = {
    "chat", "responses", "image_generation", "embedding", "realtime", "audio_transcription",
    "audio_speech", "rerank", "completion", "moderation",
}


def plain(number):
    text = format(Decimal(number).normalize(), "f")
    return text if text != "-0" else "0"


def image_tokens_are_output(model, prices):
    return (model["mode"] == "image_generation" and "out" not in prices
            and "image_token_out" in prices)


def priced(model, prices):
    """The columns that are used, with the price of image tokens where all output is images."""
    used = {name: Decimal(prices[name]) for name in CODES if name in prices}
    if image_tokens_are_output(model, prices):
        used["out"] = Decimal(prices["image_token_out"])
    return used


def base(model):
    if "ranges" in model:
        return model["ranges"][0]["usd_per_mtok"]
    return model.get("usd_per_mtok", {})


def steps(model):
    """What holds above so many tokens of input."""
    if "ranges" in model:
        assert model["ranges"][0]["from"] == 0
        return [(part["from"], part["usd_per_mtok"]) for part in model["ranges"][1:]]
    return sorted((part["above_input_tokens"], part["usd_per_mtok"])
                  for part in model.get("tiers", []))


def windows(model):
    """Days of the week (Monday is 1) and minutes of the day in UTC, the end not included."""
    for window in model["off_peak"]["windows"]:
        hours = window["hours_utc"]
        for span in [hours] if isinstance(hours, str) else hours:
            start, end = (int(part[:2]) * 60 + int(part[3:]) for part in span.split("-"))
            yield window["weekdays"], start, end or 1440


def unit(model, name):
    return Decimal(model.get("usd_per_unit", {}).get(name, 0))


def search(model):
    price = model.get("web_search_usd_per_query")
    if isinstance(price, dict):
        price = price["medium"]
    return None if price is None else Decimal(price)


def fee(model):
    return unit(model, "request") + unit(model, "query")


def has_other_units(model):
    names = ("second_in", "second_out", "character_in", "character_out")
    return any(unit(model, name) > 0 for name in names)


def multipliers(model):
    return {name: Decimal(value) for name, value in model.get("multipliers", {}).items()
            if name != "bedrock_invocation_schema"}


def line(name, model):
    assert " " not in name and model["mode"] in MODES
    words = [name, model["provider"], model["mode"],
             f"{int(model.get('max_in', 0))}/{int(model.get('max_out', 0))}",
             "".join(CAPABILITIES[cap] for cap in model.get("caps", []) if cap in CAPABILITIES)
             or "-"]

    def columns(prices):
        for column, price in priced(model, prices).items():
            assert price * 10**6 == int(price * 10**6), name
            words.append(CODES[column] + plain(price))

    columns(base(model))
    for code, price in (("S", search(model)), ("Q", fee(model) or None)):
        if price is not None:
            words.append(code + plain(price))
    image = model.get("usd_per_unit", {}).get("image_out")
    if image is not None:
        words.append("G" + plain(image))
    if has_other_units(model):
        words.append("?")
    for kind, ratio in multipliers(model).items():
        assert ratio * 1000 == int(ratio * 1000)
        words.append(f"*{kind}={plain(ratio)}")
    for above, prices in steps(model):
        words.append(f">{above}")
        columns(prices)
    if "off_peak" in model:
        spans = ",".join("".join(map(str, days)) + f":{start}-{end}"
                         for days, start, end in windows(model))
        words.append("~" + spans)
        columns(model["off_peak"]["usd_per_mtok"])
    return " ".join(words)


def table(data):
    print(f"# {data['taken']}")
    print("# Prices and limits of language models. Made by tests/llm/prices.py; the form is told in")
    print("# src/llm/price.rs. Sorted by name without regard to case.")
    print(f"# Origin: {data['origin']}.")
    print(f"# Licence: {data['licence']}.")
    for name in sorted(data["models"], key=str.lower):
        print(line(name, data["models"][name]))


BUCKETS = ["input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "output",
           "reasoning", "audio_output"]
STANDARD = {"input": "in", "output": "out", "cache_read": "cache_read",
            "cache_write_5m": "cache_write", "cache_write_1h": "cache_write_1h",
            "audio_input": "audio_in", "audio_output": "audio_out", "reasoning": "reasoning_out"}
INSTEAD = {"cache_read": "input", "cache_write_5m": "input", "cache_write_1h": "cache_write_5m",
           "audio_input": "input", "audio_output": "output", "reasoning": "output"}


def oracle(model, usage, service, start, kinds):
    """The cost in USD, or None where a price is not known."""
    rows = [priced(model, base(model))]
    total = sum(usage[name] for name in BUCKETS[:5])
    above = [prices for least, prices in steps(model) if total > least]
    if above:
        rows.insert(0, priced(model, above[-1]))
    moment = datetime.datetime.fromtimestamp(start, datetime.timezone.utc)
    if "off_peak" in model and service == "standard":
        minute = moment.hour * 60 + moment.minute
        if any(moment.isoweekday() in days and first <= minute < last
               for days, first, last in windows(model)):
            rows.insert(0, priced(model, model["off_peak"]["usd_per_mtok"]))

    def price(bucket):
        standard = STANDARD[bucket]
        own = f"{service}_{standard}"
        if bucket == "reasoning":
            own = f"{service}_out"
        for row in rows:
            for column in (own, standard):
                if column in row:
                    return row[column]
        return price(INSTEAD[bucket]) if bucket in INSTEAD else None

    cost = fee(model)
    for bucket in BUCKETS:
        if usage[bucket]:
            known = price(bucket)
            if known is None:
                return None
            cost += usage[bucket] * known / 10**6
    for count, known in ((usage["web_searches"], search(model)),
                         (usage["images"], model.get("usd_per_unit", {}).get("image_out"))):
        if count:
            if known is None:
                return None
            # Prices of units are rounded to pico-dollars once, before they are multiplied.
            known = Decimal(known).quantize(Decimal(10)**-12, ROUND_HALF_UP)
            cost += count * known
    if has_other_units(model) and not any(usage[name] for name in BUCKETS + ["images"]):
        return None
    for kind in kinds:
        cost *= multipliers(model)[kind]
    return cost.quantize(Decimal(10)**-12, ROUND_HALF_UP)


def vectors(data):
    chance = random.Random(data["taken"])
    seen = set()
    monday = 1_763_942_400  # 2025-11-24 00:00 UTC

    def usage(model, least=0):
        counts = {name: 0 for name in BUCKETS + ["web_searches", "images"]}
        prices = base(model)
        wanted = ["input", "output", "cache_read", "reasoning"]
        wanted += [name for name in ("cache_write_5m", "cache_write_1h", "audio_input",
                                     "audio_output")
                   if STANDARD[name] in prices or chance.random() < 0.1]
        for name in wanted:
            counts[name] = chance.choice([0, 1, 7, 999, chance.randrange(90_000)])
        counts["input"] += least
        if model["mode"] in ("embedding", "rerank"):
            counts.update(output=0, reasoning=0)
        if "in" not in prices and "image_out" in model.get("usd_per_unit", {}):
            counts = dict.fromkeys(counts, 0)
        if search(model) is not None:
            counts["web_searches"] = chance.randrange(4)
        if "image_out" in model.get("usd_per_unit", {}):
            counts["images"] = chance.randrange(1, 5)
        return counts

    def vector(name, model, service="standard", start=monday, kinds=(), least=0):
        counts = usage(model, least)
        cost = oracle(model, counts, service, start, kinds)
        cost = "-" if cost is None else str(int(cost * 10**12))
        numbers = ",".join(str(count) for count in counts.values())
        print("\t".join([name, service, str(start), "+".join(kinds) or "-", numbers, cost]))

    print("# Made by tests/llm/prices.py. Model, service tier, start, multipliers, usage in the order")
    print("# of its fields with output before reasoning, cost in pico-dollars or `-` if not known.")
    for name in sorted(data["models"], key=str.lower):
        model = data["models"][name]
        vector(name, model)
        prices = {part: model[part] for part in model
                  if part in ("usd_per_mtok", "usd_per_unit", "tiers", "ranges", "off_peak",
                              "multipliers", "web_search_usd_per_query", "mode")}
        form = json.dumps(prices, sort_keys=True, default=str)
        if form in seen:
            continue
        seen.add(form)
        services = [service for service in ("batch", "priority", "flex")
                    if f"{service}_in" in base(model)]
        for service in services:
            vector(name, model, service)
        for above, _ in steps(model):
            for service in ["standard", *services]:
                vector(name, model, service, least=above)
        if "off_peak" in model:
            for hours in range(0, 7 * 24, 5):
                vector(name, model, start=monday + hours * 3600 + chance.choice([0, 3599]))
        for kind in multipliers(model):
            vector(name, model, kinds=(kind,))


def main():
    what, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        data = json.load(file, parse_float=Decimal)
    {"table": table, "vectors": vectors}[what](data)


main()
