"""Which turn is worth the next call: impatient customers, simulated, by order and by what is known of those who leave.

python -m benchmarks.impatience            # the tables of docs/flow.md
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from forebay.operations.planning.impatience import Crowd, Handling, crowded
from forebay.operations.planning.patience import Patience
from forebay.operations.planning.service_time import ServiceTime
from forebay.operations.planning.traffic import Traffic

CALLS_AT_ONCE, CALL_S, CROWD_S = 40, 2.0, 60.0
OVERLOADS = (1.5, 2.0, 4.0)
SEEDS = range(5)
PLAIN = Handling(queue=False)
ORDERS: Mapping[str, Handling] = {
    "age": Handling(),
    "age, an early word": Handling(order="early word"),
    "newest first": Handling(order=0.0),
    "newest above 5 s": Handling(order=5.0),
    "newest above 10 s": Handling(order=10.0),
    "newest above 15 s": Handling(order=15.0),
    "newest above 20 s": Handling(order=20.0),
    "newest above 30 s": Handling(order=30.0),
}


def crowd(overload: float, patience: Patience, lasts_s: float = CROWD_S, out_until_s: float = 0.0) -> Crowd:
    rate = overload * CALLS_AT_ONCE / CALL_S
    service = ServiceTime(CALL_S, CALL_S * 1.6)
    return Crowd(Traffic.sustained(rate, lasts_s=lasts_s), service, CALLS_AT_ONCE, patience, out_until_s=out_until_s)


def cell(of: Crowd, handling: Handling) -> str:
    runs = [crowded(of, handling, seed) for seed in SEEDS]
    return f"{median(run.in_time for run in runs):,.0f} ({median(run.calls_an_answer for run in runs):.2f})"


def table(title: str, rows: Mapping[str, Handling], columns: Mapping[str, Crowd]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---{'|---:' * len(columns)}|")
    for name, handling in rows.items():
        print(f"| {name} | {' | '.join(cell(of, handling) for of in columns.values())} |", flush=True)


def overloads(patience: Patience) -> dict[str, Crowd]:
    return {f"{overload:g} x": crowd(overload, patience) for overload in OVERLOADS}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    told, untold = Patience(), Patience(tell=0.0)
    services = {
        "plain service, SDK retries": PLAIN,
        "by age": replace(Handling(), merge=False),
        "by age, merged": Handling(),
    }
    table("Nobody tells that they leave", services, overloads(untold))
    table("Who leaves is cancelled", services, overloads(told))
    for name, tell in (("nobody who leaves tells", 0.0), ("half of them tell", 0.5), ("all tell", 1.0)):
        table(f"Orders, merged; {name}", ORDERS, overloads(Patience(tell=tell)))
    sorts = {
        "4 x, median patience 20 s": crowd(4.0, Patience(20.0, tell=0.0)),
        "4 x, 90 s": crowd(4.0, Patience(90.0, tell=0.0)),
        "4 x, 300 s": crowd(4.0, Patience(300.0, tell=0.0)),
        "4 x for 300 s, 45 s": crowd(4.0, untold, lasts_s=300.0),
        "60 s without provider, then 0.6 x, 45 s": crowd(0.6, untold, lasts_s=180.0, out_until_s=60.0),
        "300 s, the same": crowd(0.6, Patience(300.0, tell=0.0), lasts_s=180.0, out_until_s=60.0),
    }
    told_sorts = {name: replace(of, patience=replace(of.patience, tell=1.0)) for name, of in sorts.items()}
    table("Other crowds; nobody who leaves tells", {"plain service": PLAIN, **ORDERS}, sorts)
    table("Other crowds; all tell", ORDERS, told_sorts)


if __name__ == "__main__":
    main()
