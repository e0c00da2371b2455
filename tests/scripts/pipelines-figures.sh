#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pipelines/ablation.mk and sweep.mk on a tiny model: each method has what its name says, and the
# figures' numbers are those of the table. pipelines/general.mk: MMLU's CSV as records and questions.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"
ran() { raise-view --history "$1" | tail -n 1; }
of_table() { awk -F, -v m="$2" '$1 == m { s += $4; n++ } END { printf "%.9g", s / n }' "$1/table.csv"; }

makefile=ablation go a VAL=val.jsonl TEST=test.jsonl PARTS='stage semantic' TARGET_LIMIT=3 SEEDS='1 2' \
    INIT_OPTS='--caution 0.5 --without given,consistency' EPISODES=1 || fail "ablation"
[ "$(cut -d, -f1,2 a/figure4.csv | tr '\n' ' ')" = 'part,seeds whole,2 stage,2 semantic,2 prior,2 learning,2 shuffle,2 everything (random choice),2 ' ]
ran a/without-stage/s1/policy.0.st.zst | grep -q -- '--without stage,given,consistency' || fail "given and consistency are back"
ran a/without-prior/s2/policy.0.st.zst | grep -q -- '--prior 0' || fail "with a prior"
[ ! -e a/without-learning/s1/traj.1.st.zst ] || fail "it learns"
ran a/without-shuffle/s1/final.st.zst | grep -q -- '--draw' || fail "not drawn"
if ran a/without-shuffle/s1/traj.1.st.zst | grep -q -- '--draw'; then fail "an option of deployment in an episode"; fi
for part in stage:without-stage whole:reward-model 'everything (random choice):random'; do
    [ "$(awk -F, -v p="${part%:*}" '$1 == p { print $3 }' a/figure4.csv)" = "$(of_table a "${part#*:}")" ] || fail "$part"
done
awk -F, '$1 == "whole" { w = $3; if ($5 $6 $7 != "") exit 1 } $1 == "stage" { d = $5 - ($3 - w); if (d * d > 1e-12) exit 1 }
    NR > 2 && ($7 * 4) % 1 { exit 1 }' a/figure4.csv || fail "differences: $(cat a/figure4.csv)"

makefile=sweep go s VAL=val.jsonl TEST=test.jsonl DIMS='4 12' CLASS_COUNTS='1 2' PERCENTS='4 13.4' EPOCHS=4 EPISODES=1 || fail "sweep"
[ "$(cut -d, -f1 s/figure3.csv | tr '\n' ' ')" = 'width 4 12 ' ]
[ "$(cut -d, -f1,2 s/figure5.csv | tr '\n' ' ')" = 'percent,classes 4, 4,1 4,2 13.4, 13.4,1 13.4,2 ' ]
[ "$(awk -F, '$1 == 12 { print $3 }' s/figure3.csv)" = "$(of_table s d12)" ]
[ "$(awk -F, '$1 == 13.4 && $2 == 2 { print $4 }' s/figure5.csv)" = "$(of_table s c2-p13_4)" ]
[ "$(awk -F, '$1 == 13.4 && $2 == "" { print $4 }' s/figure5.csv)" = "$(of_table s random-p13_4)" ]
[ "$(awk -F, '$1 ~ /-p4$/ { print $3 }' s/table.csv | sort -u)" = 5 ]    # at least 5
[ "$(awk -F, '$1 ~ /-p13_4$/ { print $3 }' s/table.csv | sort -u)" = 8 ] # 13.4 % of 4 * 60 / 4
raise-view s/features.d4.st.zst | grep -q 'embedding .*60, 4' || fail "not 4 wide"
# Another seed is a longer run, which keeps what is there.
before=$(stat -c %Y s/d4/s1/final.st.zst)
makefile=sweep go s VAL=val.jsonl TEST=test.jsonl DIMS=4 CLASS_COUNTS=1 PERCENTS=4 EPOCHS=4 EPISODES=1 SEEDS='1 2' || fail "another seed"
[ "$(cut -d, -f1,2 s/figure3.csv | tr '\n' ' ')$(stat -c %Y s/d4/s1/final.st.zst)" = "width,seeds 4,2 $before" ] || fail "anew"
makefile=sweep go s VAL=val.jsonl TEST=test.jsonl DIMS=4 CLASS_COUNTS=1 PERCENTS=4 EPOCHS=4 EPISODES=1 SEEDS='1 2' results RESULTS=r || fail "results"
for f in 3 5; do
    grep -v '^#' r-figure$f.csv | cmp - s/figure$f.csv
    for line in '# command make -f pipelines/sweep.mk .*DIMS=4' '# machine Linux' '# arithmetic cpu-.*fp32' '# setting BATCH 4$' '# input POOL [0-9a-f]*$'; do
        grep -q "^$line" r-figure$f.csv || fail "no $line"
    done
done
makefile=sweep refuses 'LEARNERS: LEARNER= names the one' x LEARNERS=ppo
if [ -n "$(command -v gnuplot)" ]; then
    for f in a/figure4.png s/figure3.png s/figure5.png; do [ -s $f ] || fail "no $f"; done
fi

# Commas, quotes and breaks within fields; subjects in turn; what raise-eval asks of the CSV it asks of
# the records.
mkdir dev test
printf '%s\n' '"Is it ""1, 2"" \ or' 'more?",1,"2, 3",4 ,5,B' 'Next?,a,b,c,d,D' 'Last?,a,b,c,d,A' >dev/some_logic_dev.csv
printf 'question,A,B,C,D,answer\nOther?,e,f,g,h,C\nThe other?,e,f,g,h,C\r\n' >dev/math_dev.csv
for s in some_logic math; do sed 's/?/ here?/' dev/${s}_dev.csv >test/${s}_test.csv; done
makefile=general go g VAL_CSV=dev TEST_CSV=test VAL_LIMIT=2 TEST_LIMIT=3 EPISODES=1 EVAL_OPTS='--by letter' \
    LEARNERS=reward-model BASELINES=random || fail "general"
[ "$(sed 's/.*"subject": //' g/questions/val.jsonl | tr '\n' ' ')" = '"math"} "some_logic"} "math"} "some_logic"} "some_logic"} ' ]
sed -n 2p g/questions/val.jsonl | grep -qF 'about some logic.\n\nIs it \"1, 2\" \\ or\nmore?\nA. 1\nB. 2, 3\nC. 4 \nD. 5\nAnswer:"}, {"role": "assistant", "content": "B"}' ||
    fail "$(cat g/questions/val.jsonl)"
raise-eval choice -q -m "$model" --precision fp32 --log-samples csv.jsonl test/math_test.csv >/dev/null
raise-eval choice -q -m "$model" --precision fp32 --log-samples records.jsonl g/test.jsonl >/dev/null
cmp <(sed -n 's/.*"prompt": "\([^"]*\)".*/\1/p' csv.jsonl) <(sed -n '1p;3p' records.jsonl | sed -n 's/.*"prompt": "\([^"]*\)".*/\1/p')
[ "$(awk -F, '$5 == "acc" { print $1, $2, $3, $4, $8 }' g/eval.csv)" = "$(printf '%s 1 choice g/test.jsonl 3\n' none reward-model random)" ] || fail "$(cat g/eval.csv)"
echo 'Which?,a,b,c,d,E' >test/math_test.csv
if makefile=general go h VAL_CSV=dev TEST_CSV=test; then fail "a fifth choice"; fi
told 'test/math_test.csv:1: not question, A, B, C, D and one of these letters'
