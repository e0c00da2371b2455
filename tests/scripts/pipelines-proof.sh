#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pipelines/proof.mk on a tiny model: two pools, two targets, paired seeds; its table is that of its runs,
# its comparisons those of the table; what it found can be had again from the file of results.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"
records other 50 >other.jsonl
mkdir test dev
awk 'BEGIN { for (i = 0; i < 6; i++) print "Which is " i "?,a,b,c,d," substr("ABCD", i % 4 + 1, 1) }' >dev/sums_dev.csv
sed 's/is/was/' dev/sums_dev.csv >test/sums_test.csv
prove() { # goals and variables...
    : >log
    make -s -f "$pipelines/proof.mk" BUILD="$RAISE_BUILD" OUT=p MODEL="$model" POOLS='A B' DATA_A=pool.jsonl DATA_B=other.jsonl \
        TARGETS='say ask' VAL_say=val.jsonl TEST_say=test.jsonl BASE_ask=general VAL_CSV_ask=dev TEST_CSV_ask=test STEPS_ask=3 \
        PAIRS='A/say B/ask' TEMPLATE=plain TARGET_LIMIT=2 VAL_LIMIT=3 TEST_LIMIT=6 DIM=8 STEPS=2 BATCH=4 EPISODES=1 SEEDS='1 2' \
        LEARNERS=paper BASELINES='random rds' THREADS=1 PRECISION=fp32 MAX_LENGTH=256 "$@" >>log 2>&1
}
prove status || fail "status"
told '0 of '
prove || fail "the proof"
[ "$(head -n 1 p/table.csv)" = pool,target,method,seed,steps,selection_phi,test_nll,test_accuracy,features_phi,episodes_phi,training_phi ]
[ "$(wc -l <p/table.csv)" = 17 ] # 2 runs, 2 seeds, 3 methods and none
for x in A/say B/ask; do
    cmp <(awk -F, -v x=$x '$1 "/" $2 == x { print $3 "," $4 "," $5 "," $7 }' p/table.csv) <(tail -n +2 p/$x/table.csv)
done
[ "$(awk -F, 'NR > 1 && $8 != "" { print $1 $2 }' p/table.csv | sort | uniq -c | xargs)" = '8 Bask' ] || fail "accuracies"
[ "$(awk -F, '$1 == "paper" && $3 != "training" && $2 == 2 { s += $6 } END { printf "%.5g", s }' p/B/ask/costs.csv)" = \
    "$(awk -F, '$1 $2 $3 $4 == "Baskpaper2" { printf "%.5g", $6 }' p/table.csv)" ] || fail "costs"
[ "$(awk -F, '$2 == "ask" { print $5 }' p/table.csv | sort -u | xargs)" = '0 3' ] || fail "steps of its own"

# Comparisons: by hand, over seeds of a run and over all runs together.
[ "$(awk -F, '$1 == "A" && $2 == "say" { l[$3, $4] = $7 } END { printf "%.6f", (l["random", 1] - l["paper", 1] + l["random", 2] - l["paper", 2]) / 2 }' p/table.csv)" = \
    "$(awk -F, '$1 $2 $3 $4 $5 == "Asaynllpaperrandom" { printf "%.6f", $7 }' p/comparisons.csv)" ] || fail "below"
python3 - <<'PY' || fail "p of comparisons.csv"
import csv, itertools
rows = list(csv.DictReader(open("p/table.csv")))
for c in csv.DictReader(open("p/comparisons.csv")):
    of = lambda m: {(r["pool"], r["target"], r["seed"]): float(r["test_nll"]) if c["metric"] == "nll" else 1 - float(r["test_accuracy"])
                    for r in rows if r["method"] == m and (c["pool"] == "all" or (r["pool"], r["target"]) == (c["pool"], c["target"]))
                    and (c["metric"] == "nll" or r["test_accuracy"])}
    a, b = of(c["method"]), of(c["rival"])
    d = [b[k] - a[k] for k in a]
    size = sum(map(abs, d))
    sums = [sum(s * x for s, x in zip(w, d)) for w in itertools.product((1, -1), repeat=len(d))]
    one = sum(s >= sum(d) - 1e-9 * size for s in sums) / len(sums)
    two = min(1, 2 * min(one, sum(s <= sum(d) + 1e-9 * size for s in sums) / len(sums)))
    assert int(c["seeds"]) == len(d) and abs(float(c["below"]) - sum(d) / len(d)) < 1e-7, c
    assert abs(float(c["p_one_sided"]) - one) < 1e-5 and abs(float(c["p_two_sided"]) - two) < 1e-5, (c, one, two)
PY
[ "$(awk -F, '$1 == "all" && $3 == "nll" && $5 == "rds" { print $6 }' p/comparisons.csv | sort -u)" = 4 ]
grep -qE '^A/say: paper is 0\.[0-9]* (above|below|from) random \(2 pairs, sd [0-9.]*, p = ' p/proof.txt || fail "$(cat p/proof.txt)"
told 'With 2 pairs no p can be below 0.2500 one-sided, 0.5000 two-sided.'
printf '%s\n' pool,target,metric,method,rival,seeds,below,sd,p_one_sided,p_two_sided A,b,nll,m,random,1,0.5,,, A,b,nll,m,rds,2,0,0,1,1 |
    awk -F, -v learners=m -f "$pipelines/comparisons.awk" >said
[ "$(cat said)" = "$(printf 'A/b: m is 0.5000 below random (one seed: how far that is chance is not known).\nA/b: m and rds are equal in every seed (2 pairs, sd 0.0000, p = 1.0000 one-sided, 1.0000 two-sided).')" ] ||
    fail "$(cat said)"
prove status || fail "status"
[ "$(cat log)" = "$(sed -n 's/.* of \([0-9]*\) .*/\1 of \1 jobs are done./p' log)" ] || fail "$(cat log)"

# The file of results, and the same again from it: two methods of every run.
prove results RESULTS=r.csv || fail "results"
[ "$(grep -v '^#' r.csv | cmp - p/table.csv; grep -c '^# base ' r.csv)" = 2 ]
for line in '# command make -f pipelines/proof.mk ' '# machine Linux' '# arithmetic cpu-.*fp32' '# setting B/ask STEPS 3$' '# input A/say POOL [0-9a-f]*$'; do
    grep -q "^$line" r.csv || fail "no $line"
done
prove check-results RESULTS=r.csv CHECK='paper random' || fail "check-results"
[ "$(grep -cE '^(A/say|B/ask): (paper|random), seed 1: ([0-9.]+), was \3$' log)" = 4 ] || fail "not all are as they were"
[ "$(find p/check -name final.st.zst | wc -l)" = 4 ]
sed 's/^\(A,say,random,1,2,0,\)[0-9.]*/\11.5/' r.csv >wrong.csv
if prove check-results RESULTS=wrong.csv CHECK='paper random'; then fail "a number that nobody measured"; fi
told 'was 1.5: not within 1e-6'
if prove check-results RESULTS=r.csv CHECK=random DATA_B=pool.jsonl; then fail "another pool"; fi
told 'POOL=pool.jsonl has other content'
