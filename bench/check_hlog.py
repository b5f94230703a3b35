#!/usr/bin/env python3
"""Have Python's HdrHistogram read interval logs and compare what it finds with `columba-bench histogram`.

    bench/check_hlog.py [--bench PROGRAM] LOG.hlog...

The first run makes a virtual environment beside the build's other products and installs `hdrhistogram` there. Values
must agree on count, maximum and the percentiles from 50 to 99.99, to the precision of a bucket (three digits). Ends with
0 when all do, 1 when some do not.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = "hdrhistogram==0.10.8"
ROOT = Path(__file__).resolve().parent.parent
PERCENTILES = {"p50": 50, "p75": 75, "p90": 90, "p99": 99, "p999": 99.9, "p9999": 99.99}
# The bounds of the server's histograms, in nanoseconds: one hour, three digits.
LOWEST, HIGHEST, DIGITS = 1, 3_600_000_000_000, 3
# Two values of one bucket may differ by this share.
PRECISION = 1e-3


def target_folder():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def enter_environment():
    """Runs this script again in an environment that has the package, if this one has not."""
    try:
        import hdrh.histogram  # noqa: F401
    except ImportError:
        folder = target_folder() / "check-hlog-venv"
        python = folder / "bin" / "python"
        if sys.executable == str(python):
            sys.exit("error: the package hdrhistogram is installed but cannot be imported")
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", PACKAGE], check=True)
            (folder / "ready").touch()
        os.execv(str(python), [str(python), *sys.argv])


def read_with_python(path):
    """All intervals of each tag, added up by Python's own log reader."""
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    reader = HistogramLogReader(str(path), HdrHistogram(LOWEST, HIGHEST, DIGITS))
    sums = {}
    try:
        while (interval := reader.get_next_interval_histogram()) is not None:
            tag = interval.get_tag() or ""
            total = sums.setdefault(tag, HdrHistogram(LOWEST, HIGHEST, DIGITS))
            total.add(interval)
    finally:
        reader.close()
    return sums


def read_with_bench(bench, path):
    command = [str(bench), "histogram", "--json", str(path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {row["tag"]: row for row in map(json.loads, lines)}


def value_at(histogram, percentile):
    """The value of rank ceil(percentile * count), as HdrHistogram in Java, C and Rust has it.

    Python's package rounds the rank to the nearest instead, which differs by one in small histograms: so it is asked for
    the percentile at which it finds the same rank.
    """
    count = histogram.get_total_count()
    # In hundredths of a percent, so that nothing is lost before rounding.
    rank = -(-round(percentile * 100) * count // 10_000)
    return histogram.get_value_at_percentile(100.0 * rank / count)


def differences(tag, ours, theirs):
    """What Python finds otherwise, as text."""
    if theirs.get_total_count() != ours["count"]:
        yield f"{tag}: count {ours['count']}, Python {theirs.get_total_count()}"
    found = {name: value_at(theirs, at) for name, at in PERCENTILES.items()}
    found["max"] = theirs.get_max_value()
    for name, nanos in found.items():
        expected = ours["latency_us"][name] * 1e3
        if abs(nanos - expected) > max(1.0, PRECISION * expected):
            yield f"{tag}: {name} {expected:.0f} ns, Python {nanos} ns"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = target_folder() / "release" / "columba-bench"
    parser.add_argument("--bench", type=Path, default=default, help="the program to compare with [default: %(default)s]")
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG.hlog")
    arguments = parser.parse_args()
    enter_environment()
    failed = False
    for path in arguments.logs:
        theirs, ours = read_with_python(path), read_with_bench(arguments.bench, path)
        problems = []
        if set(theirs) != set(ours):
            problems.append(f"tags {sorted(ours)}, Python {sorted(theirs)}")
        for tag in sorted(set(theirs) & set(ours)):
            problems.extend(differences(tag, ours[tag], theirs[tag]))
            row = ours[tag]
            print(f"{path.name} {tag or '(no tag)'}: {row['count']} values, p99 {row['latency_us']['p99']} µs")
        if not theirs:
            problems.append("no interval at all")
        for problem in problems:
            failed = True
            print(f"error: {path}: {problem}", file=sys.stderr)
    print("Python disagrees" if failed else "Python agrees on count, maximum and p50 to p99.99")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
