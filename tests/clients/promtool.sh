#!/usr/bin/env bash
# promtool query instant, range, series and labels against $1.
set -euo pipefail
url=$1
now=$(date +%s)
query='emac_journey_availability_pessimistic{journey="checkout",window="5m"}'

expect() { grep -qE -- "$1" <<<"$2" || { echo "no /$1/ in: $2"; exit 1; }; }

instant=$(promtool query instant "$url" "$query")
expect '^emac_journey_availability_pessimistic\{journey="checkout", window="5m"\} => [0-9.e-]+ @\[' "$instant"
mean=$(promtool query instant "$url" 'avg by (journey) (avg_over_time(emac_journey_gate{journey="checkout",window="5m"}[2m]))')
expect '\{journey="checkout"\} => ' "$mean"
range=$(promtool query range --start="$((now - 120))" --end="$now" --step=30s "$url" "$query")
expect '@\[[0-9.]+\]' "$range"
series=$(promtool query series --match='{__name__=~".*journey_gate.*",journey="checkout"}' "$url")
expect 'emac_journey_gate.*verdict="review"' "$(tr '\n' ' ' <<<"$series")"
labels=$(promtool query labels "$url" journey)
expect 'checkout' "$labels"
# What is not ours is answered by the upstream.
expect ' => ' "$(promtool query instant "$url" 'sum(rate(shop_request_duration_seconds_count[5m]))')"
# A fault is told with its place.
if fault=$(promtool query instant "$url" 'emac_journey_gate{' 2>&1); then
  echo "no error for a broken query: $fault"
  exit 1
fi
expect 'bad_data' "$fault"
