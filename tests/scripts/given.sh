#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-embed --fields: the records' own numbers as columns, the mean where one is missing, the same
# in shards; names travel, and the state has a column for each.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
awk 'BEGIN { for (i = 0; i < 60; i++) {
    marks = i == 7 ? "" : i == 9 ? ",\"quality\":\"good\"" : sprintf(",\"quality\":%d", i % 5)
    printf "{\"prompt\":\"add %d\",\"completion\":\"%d\"%s,\"hard\":\"%.1f\"}\n", i, 3 * i, marks, i / 10 } }' >data.jsonl
set -- -m "$model" -t 1 -d 8 --template none --no-provenance
raise-embed "$@" --fields quality,hard -o g.st.zst data.jsonl 2>err
# without records 7 and 9, whose marks would be 2 and 4: (5 times 24 - 6) / 58
mean=$(awk 'BEGIN { printf "%.6g", (120 - 6) / 58 }')
grep -q "warning: data.jsonl: 2 of 60 records without a number in \"quality\" get the mean, $mean (the first: record 7)$" err
grep -q '"hard"' err && exit 1
[ "$(raise-view --meta raise.given g.st.zst)" = quality,hard ]
raise-view --table given g.st.zst | awk -F, -v mean="$mean" '
    NR == 1 { next }
    { i = NR - 2; want = i == 7 || i == 9 ? mean : i % 5; d = $1 - want; h = $2 - i / 10 }
    d > 1e-5 || d < -1e-5 || h > 1e-5 || h < -1e-5 { print "row " i ": " $0; bad = 1 }
    END { exit bad || NR != 61 }'
for i in 0 1; do raise-embed -q "$@" --fields quality,hard --shard $i/2 -o "s$i.st.zst" data.jsonl; done
identity() { raise-view "$1" | sed -n 's/^ *identity //p'; }
raise-view --cat --no-provenance s0.st.zst s1.st.zst >joined
[ "$(identity joined)" = "$(identity g.st.zst)" ]
raise-cluster -q -k 2 -t 1 g.st.zst >f.st.zst
[ "$(raise-view --meta raise.given f.st.zst)" = quality,hard ]
raise-ppo -q -f f.st.zst --init --with given -o p.0
[[ $(raise-view --meta raise.columns p.0) == *' given_0 given_1' ]]
raise-embed -q "$@" data.jsonl >bare.st.zst
if raise-ppo -q -f bare.st.zst --init --with given -o x 2>err; then exit 1; fi
grep -q 'the features have no column of part given$' err

mkdir empty && cd empty
refused() { # status pattern list
    local status=0
    raise-embed -q "${@:4}" --fields "$3" -o x.st.zst ../data.jsonl 2>../err || status=$?
    if [ "$status" != "$1" ] || ! grep -q -e "$2" ../err; then cat ../err; return 1; fi
}
refused 1 'no record has a number in "none"$' none "$@"
refused 2 "^raise-embed: --fields: 'hard' twice" hard,hard "$@"
refused 2 "is not a list of 1 to 8 names" "hard,,quality" "$@"
refused 2 "is not a list of 1 to 8 names" a,b,c,d,e,f,g,h,i "$@"
[ -z "$(ls -A)" ]
