"""Attacks `attire serve` while a normal client uses it.

python benchmarks/attacks.py [BUNDLE] [--only ATTACK ...] [--seconds 15] [--source CHECKOUT/src] [--json FILE]

Without BUNDLE an untrained network of the default recipe is served. Each attack of `support/attackers.py` runs alone,
from several processes with one API key each. Meanwhile an honest client with its own key sends photos, and another one
polls /healthz. Exits with 1 unless

- /healthz always answers within 1 s;
- the honest client is always answered, and its median latency grows at most threefold;
- after the attack the server's processes use at most 300 MB more memory than before.

`--source` attacks the attire of another checkout.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Self

import httpx
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table
from support.attackers import ATTACKS
from support.common import machine
from support.served import serving

HEALTH_S, GROWTH, MEMORY_MB = 1.0, 3.0, 300.0
CALM_S, SETTLE_S = 8.0, 20.0  # time before an attack, and maximum time after it
ADDRESS_SPACE = 16 * 2**30  # bytes; a server that needs more fails before the machine runs out of memory
MB = 1e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attack."""

    attack: str
    memory_before_mb: float
    memory_peak_mb: float
    memory_after_mb: float
    health_worst_s: float
    honest_before_ms: float
    honest_during_ms: float
    honest_refused: int

    @property
    def broken(self) -> list[str]:
        """Names of the failed conditions."""
        conditions = {
            "memory": self.memory_after_mb - self.memory_before_mb <= MEMORY_MB,
            "health": self.health_worst_s <= HEALTH_S,
            "latency": self.honest_during_ms <= GROWTH * self.honest_before_ms,
            "refused": not self.honest_refused,
        }
        return [name for name, met in conditions.items() if not met]


class Repeating:
    """Repeats `once` in a thread from `__enter__` to `__exit__`."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s, self._stop = pause_s, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def once(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stop.is_set():
            self.once()
            self._stop.wait(self._pause_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Health(Repeating):
    """Requests /healthz, over a new connection each time."""

    def __init__(self, address: str) -> None:
        super().__init__(0.1)
        self._address, self.worst_s = address, 0.0

    def once(self) -> None:
        start = time.monotonic()
        with suppress(httpx.TransportError):
            httpx.get(f"{self._address}/healthz", timeout=60)
        self.worst_s = max(self.worst_s, time.monotonic() - start)


class Honest(Repeating):
    """Sends one photo after the other."""

    def __init__(self, address: str, key: str, photo: bytes) -> None:
        super().__init__(0.02)
        self._photo, self.latencies_ms, self.refused = photo, list[float](), 0
        self._api = httpx.Client(base_url=address, timeout=60, headers={"Authorization": f"Bearer {key}"})

    def once(self) -> None:
        start = time.monotonic()
        try:
            status = self._api.post("/v1/predict", files={"photos": self._photo}).status_code
        except httpx.TransportError:
            status = 0
        self.latencies_ms.append(1000 * (time.monotonic() - start))
        self.refused += status != 200

    @property
    def median_ms(self) -> float:
        return statistics.median(self.latencies_ms)


class Memory(Repeating):
    """Reads the resident memory of the server and its children."""

    def __init__(self, server: psutil.Process) -> None:
        super().__init__(0.1)
        self._server, self.peak_mb = server, 0.0

    def once(self) -> None:
        self.peak_mb = max(self.peak_mb, resident_mb(self._server))


def resident_mb(server: psutil.Process) -> float:
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss / MB
    return total


def measure(name: str, address: str, server: psutil.Process, keys: Sequence[str], photo: bytes, s: float) -> Outcome:
    """Run one attack from a process for each key but the first, which the honest client uses."""
    honest_key, *others = keys
    with Honest(address, honest_key, photo) as calm:
        time.sleep(CALM_S)
    script = Path(__file__).with_name("support") / "attackers.py"
    attackers = [
        subprocess.Popen([sys.executable, script, name, address, key, str(s)], stdin=PIPE, stdout=PIPE)
        for key in others
    ]
    for process in attackers:
        assert process.stdout
        process.stdout.readline()  # wait until it is ready
    before = resident_mb(server)
    with Health(address) as health, Memory(server) as memory, Honest(address, honest_key, photo) as honest:
        for process in attackers:
            assert process.stdin
            process.stdin.close()
        for process in attackers:
            with suppress(subprocess.TimeoutExpired):
                process.wait(6 * s)
            process.kill()
            process.wait()
    after, end = resident_mb(server), time.monotonic() + SETTLE_S
    with Honest(address, honest_key, photo):  # the server returns memory while it serves others
        while time.monotonic() < end and after > before + MEMORY_MB / 2:
            time.sleep(0.5)
            after = resident_mb(server)
    return Outcome(
        name, before, memory.peak_mb, after, health.worst_s, calm.median_ms, honest.median_ms, honest.refused
    )


def untrained(folder: Path) -> Path:
    """Save a bundle of the default recipe's untrained network, with as many categories and keys as a real shop."""
    from attire.bundle import ModelBundle
    from attire.config import load_recipe
    from attire.model.network import build_network
    from attire.pixels.preprocess import Preprocess
    from attire.taxonomy import Key, Taxonomy

    categories = tuple(f"Category {number}" for number in range(26))
    values = tuple(f"value {number}" for number in range(6))
    keys = {f"key{number}": Key(arity="one", categories=categories, values=values) for number in range(46)}
    recipe, taxonomy = load_recipe("base", {"size_px": (224, 224)}), Taxonomy(categories=categories, keys=keys)
    ModelBundle.save(
        folder / "bundle",
        build_network(recipe.architecture, taxonomy),
        recipe.architecture,
        taxonomy=taxonomy,
        preprocess=Preprocess(size_px=recipe.input_px, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        decision=recipe.decision,
        provenance={},
        scores={},
    )
    return folder / "bundle"


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """Return a table with a row for each attack."""
    table = Table("attack", title="memory in MB, the honest client's median latency in ms", title_justify="left")
    for column in ("before", "peak", "after", "health worst", "honest before", "during", "broken"):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        broken = [f"{outcome.honest_refused} refused" if name == "refused" else name for name in outcome.broken]
        table.add_row(
            outcome.attack,
            *(f"{mb:,.0f}" for mb in (outcome.memory_before_mb, outcome.memory_peak_mb, outcome.memory_after_mb)),
            f"{outcome.health_worst_s:.2f} s",
            f"{outcome.honest_before_ms:.0f}",
            f"{outcome.honest_during_ms:.0f}",
            ", ".join(broken),
        )
    return table


def main() -> None:
    """Run the attacks, print the results, and exit with 1 if a condition failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, metavar="ATTACK")
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = [name for name in ATTACKS if not arguments.only or name in arguments.only]
    keys = [secrets.token_hex(16) for _ in range(arguments.attackers + 1)]
    content = io.BytesIO()
    Image.effect_noise((900, 1200), 40).convert("RGB").save(content, "JPEG", quality=85)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = arguments.bundle or untrained(folder)
        (folder / "keys").write_text("\n".join(keys), encoding="utf-8")
        (folder / "keys").chmod(0o600)
        for name in names:  # a new server each, so that attacks do not affect each other
            with serving(bundle, "--keys", str(folder / "keys"), source=arguments.source) as (address, server):
                resource.prlimit(server.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
                outcomes.append(measure(name, address, server, keys, content.getvalue(), arguments.seconds))
            Console(width=160).print(table_of(outcomes[-1:]))
    Console(width=160).print(table_of(outcomes))
    if arguments.json:
        results = {"machine": machine(), "attacks": [asdict(outcome) for outcome in outcomes]}
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    sys.exit(any(outcome.broken for outcome in outcomes))


if __name__ == "__main__":
    main()
