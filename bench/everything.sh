#!/usr/bin/env bash
# Measures everything that docs/BENCHMARKS.md tells of, keeps the rows below bench/runs/ and writes the report anew.
#
#   bench/everything.sh              all steps, about 65 minutes; as root also the links and TCP
#   bench/everything.sh --list       the steps, with about how long each takes
#   bench/everything.sh path many    these steps only, then the report
#   bench/everything.sh report       the report alone
#
# The machine should do nothing else meanwhile. A step replaces the rows that it kept before. Redis and NATS stand beside
# the chat where redis-server and nats-server are installed: this starts them and ends them. A step that fails is told of at
# the end, and its old rows stay where it kept none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

steps=(
    "compare        4 min   limits and peers over loopback, small files, scp, rsync, curl from nginx"
    "quick          1 min   the short comparison"
    "bulk           2 min   sinks, several files, several clients, a longer file"
    "path          14 min   lossy paths, whole downloads, reordering, small files, sharing: the usual set"
    "path-repeated 10 min   Columba on each path three times; whole downloads over link and relay"
    "path-relay     3 min   one flow over the relay, 50 ms"
    "path-bbr       3 min   quinn and s2n-quic with BBR"
    "chat           4 min   chat beside Redis and NATS, pipelined and one at a time"
    "chat-find      8 min   the highest rate whose 99th percentile stays below 5 ms"
    "mixed         12 min   chat beside downloads: warm, cold, on a full link"
    "many           1 min   a thousand downloads at once"
    "idle           2 min   idle members"
)

if [[ "${1:-}" == --list ]]; then
    printf '%s\n' "${steps[@]}"
    exit
fi
names=()
for step in "${steps[@]}"; do
    names+=("${step%% *}")
done
wanted=("$@")
if ((${#wanted[@]} == 0)); then
    wanted=("${names[@]}")
fi
for name in "${wanted[@]}"; do
    if [[ "$name" != report && ! " ${names[*]} " == *" $name "* ]]; then
        echo "there is no step $name: bench/everything.sh --list" >&2
        exit 2
    fi
done

cargo build --release --locked -p columba-bench --bin columba-bench --features columba-bench/peers
bench="${CARGO_TARGET_DIR:-target}/release/columba-bench"
runs=bench/runs
services=()
failed=()
finish() {
    for service in "${services[@]}"; do
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    done
}
trap finish EXIT

# keep NAME ARGUMENTS...: one run, its rows in NAME.jsonl.
keep() {
    local name="$1" began=$SECONDS
    shift
    echo "== $name: columba-bench $*" >&2
    if "$bench" "$@" --save="$runs/$name.jsonl"; then
        echo "== $name: $((SECONDS - began)) s" >&2
    else
        echo "== $name FAILED after $((SECONDS - began)) s" >&2
        failed+=("$name")
    fi
}

# A port that nobody has now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts what of Redis and NATS is installed; says how the chat reaches it.
others=()
start_services() {
    local port
    if ((${#services[@]} > 0)); then
        return
    fi
    if command -v redis-server >/dev/null; then
        port="$(free_port)"
        redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
        services+=("$!")
        others+=(--redis "127.0.0.1:$port")
    fi
    if command -v nats-server >/dev/null; then
        port="$(free_port)"
        nats-server --addr 127.0.0.1 --port "$port" >/dev/null 2>&1 &
        services+=("$!")
        others+=(--nats "127.0.0.1:$port")
    fi
    sleep 1
}

step_compare() { keep compare compare --runs 12; }
step_quick() { keep compare-quick compare --quick --json; }
step_bulk() {
    keep bulk bulk
    keep bulk-long bulk --mib 4096
    keep bulk-long-jumbo bulk --mib 4096 --max-datagram 8972
    keep bulk-parallel bulk --mib 256 --parallel 4
    keep bulk-clients bulk --mib 256 --clients 4
    keep bulk-shm bulk --sink shm --with-limit --runs 5
    keep bulk-disk bulk --sink disk --with-limit --mib 512 --runs 5
}
step_path() { keep path path; }
step_path-repeated() {
    keep path-repeated path --part matrix,reorder --rows columba --runs 3
    keep path-whole path --part whole --over link,relay --runs 3
}
step_path-relay() { keep path-relay path --part matrix --over relay --rtt 50ms; }
step_path-bbr() { keep path-bbr path --part matrix --rows quinn-bbr,s2n-quic-bbr; }
step_chat() {
    start_services
    keep chat chat "${others[@]}" --runs 2 --histograms "$runs/chat"
    keep chat-one-at-a-time chat "${others[@]}" --one-at-a-time --rate 20 --runs 2
}
step_chat-find() {
    start_services
    keep chat-find chat "${others[@]}" --find 5ms --rate 1000 --seconds 4s --warm-up 1s
}
step_mixed() {
    local run
    for run in 1 2 3; do
        keep "mixed-8-downloads-$run" mixed --histograms "$runs/mixed-8-downloads"
    done
    for run in 1 2 3; do
        keep "mixed-cold-$run" mixed --cold --mib 1000 --seconds 5s --histograms "$runs/mixed-cold"
    done
    for run in 1 2; do
        keep "mixed-20mbit-$run" mixed --rate 20mbit --delay 25ms --histograms "$runs/mixed-20mbit"
    done
    if ((EUID == 0)); then
        keep mixed-server-nice mixed --server-nice -10
    fi
}
step_many() {
    keep many many
    keep many-plaintext many --plaintext
}
step_idle() { keep idle idle; }
step_report() { :; }

for name in "${wanted[@]}"; do
    "step_$name"
done
# Python's HdrHistogram must read the interval logs as we do. They are large, and the report needs only the distributions.
mapfile -t logs < <(find "$runs" -mindepth 2 -name '*.hlog')
if ((${#logs[@]} > 0)); then
    bench/check_hlog.py --bench "$bench" "${logs[@]}" || failed+=(check_hlog.py)
fi
find "$runs" -mindepth 2 -name '*.hlog' -delete
find "$runs" -mindepth 2 -name 'server*.hgrm' -delete
"$bench" report
if ((${#failed[@]} > 0)); then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
