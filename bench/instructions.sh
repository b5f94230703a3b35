#!/usr/bin/env bash
# Instructions per DATA packet of the core's sender and receiver together, counted by callgrind: the same on a busy machine
# as on an idle one. Plaintext mode, 1472-byte datagrams, a perfect link in memory (bench/examples/packet_path.rs).
#
#   bench/instructions.sh            print the count, and the functions that take most
#   bench/instructions.sh --check    fail when there are over 5 % more than bench/instructions.txt says
#   bench/instructions.sh --update   write the count there
#
# Another compiler or another CPU (which picks vector code) moves the count: update the baseline with the toolchain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode="${1:-print}"
case "$mode" in
    print | --check | --update) ;;
    *)
        echo "usage: bench/instructions.sh [--check | --update]" >&2
        exit 2
        ;;
esac
if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed; it is in every distribution's packages" >&2
    exit 1
fi

baseline_file=bench/instructions.txt
tolerance_percent=5
few=20000
many=120000
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

cargo build --release --locked -p columba-bench --example packet_path
binary="${CARGO_TARGET_DIR:-target}/release/examples/packet_path"

# Prints "packets instructions" of a run.
count() {
    local packets
    packets="$(valgrind --tool=callgrind --callgrind-out-file="$scratch/$1.out" --log-file="$scratch/$1.log" "$binary" "$1")"
    echo "$packets $(sed -n 's/^\(summary\|totals\): //p' "$scratch/$1.out" | head -n 1)"
}

# The difference of two runs leaves out start and handshake.
read -r packets_few instructions_few < <(count "$few")
read -r packets_many instructions_many < <(count "$many")
per_packet=$(((instructions_many - instructions_few) / (packets_many - packets_few)))
echo "instructions per DATA packet, both ends: $per_packet"

case "$mode" in
    print)
        callgrind_annotate --auto=no "$scratch/$many.out" | sed -n '/Ir/,$p' | head -n 30
        ;;
    --update)
        printf '%s\n' "$per_packet" >"$baseline_file"
        echo "written to $baseline_file"
        ;;
    --check)
        baseline="$(cat "$baseline_file")"
        limit=$((baseline * (100 + tolerance_percent) / 100))
        if ((per_packet > limit)); then
            echo "more than $tolerance_percent % above the baseline of $baseline: find out why, or --update and say why" >&2
            exit 1
        fi
        echo "baseline $baseline, limit $limit: fine"
        ;;
esac
