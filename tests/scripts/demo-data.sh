#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# demo-generate: the same bytes for a seed, records that its head tells of in the shares that it
# tells, and no question of the target in two sets.
set -euo pipefail
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
make() { "$RAISE_BUILD/demo-generate" "$@"; }
for kind in pool misleading two problems validation test two-problems two-validation two-test; do
    make $kind 4000 5 >"$dir/$kind"
    make $kind 4000 5 | cmp - $kind
    if make $kind 4000 6 | cmp -s - $kind; then echo "$kind: one pool for every seed" && exit 1; fi
done
python3 - <<'PY'
import collections, json
def read(name):
    return [json.loads(line) for line in open(name)]
def shares(name):
    rows = read(name)
    return {k: n / len(rows) for k, n in collections.Counter(r["family"] for r in rows).items()}
def near(name, **want):
    have = shares(name)
    for family, share in want.items():
        assert abs(have.get(family, 0) - share) < 0.03, (name, family, have)
near("pool", gain=.03, loss=.03, empty=.14, copied=.04, note=.06, order=0)
near("misleading", gain=.05, loss=.05, empty=.15, order=0)
near("two", gain=.04, loss=.04, order=.08, empty=0)
for name in ("two-problems", "two-validation", "two-test"):
    near(name, order=.5, gain=.25, loss=.25)
for name in ("problems", "validation", "test"):
    near(name, order=0, gain=.5, loss=.5)
ours = ("gain", "loss", "order")
for sets in (("pool", "validation", "test"), ("two", "two-validation", "two-test"), ("two-problems", "two-validation", "two-test")):
    asked = [{r["instruction"] for r in read(name) if r["family"] in ours} for name in sets]
    assert not asked[0] & asked[1] and not asked[0] & asked[2] and not asked[1] & asked[2], sets
for r in read("two-test"):
    if r["family"] == "order":
        order, first = r["output"].split("\n")
        w = order.removeprefix("Order: ").split(" < ")
        assert w == sorted(set(w)) and len(w) == 3 and first == "= " + w[0] and all(x in r["instruction"] for x in w), r
PY
for bad in '' 'pool 10' 'pool 0 1' 'pool x 1' 'pools 10 1' 'pool 10 1 1'; do
    status=0
    # shellcheck disable=SC2086
    make $bad >out 2>/dev/null || status=$?
    if [ $status != 2 ] || [ -s out ]; then echo "'$bad': $status" && exit 1; fi
done
