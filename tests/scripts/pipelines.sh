#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pipelines/gsm8k.mk on a tiny model: everything is made once; a file that is removed is made again,
# the same; a learner or seed that is added is run; a run that was killed goes on to the same bytes.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

go a || fail "the run failed"
[ "$(wc -l <a/table.csv)" = 4 ] # the heading, none, random, the learner
[ "$(wc -l <a/reward-model/s1/subset.jsonl)" = 8 ]
go a -q || fail "something is left to do"

cp -r a kept
rm a/reward-model/s1/traj.2.st.zst
if go a -q; then fail "a missing trajectory is not missed"; fi
go a || fail "the run did not go on"
cmp a/reward-model/s1/traj.2.st.zst kept/reward-model/s1/traj.2.st.zst
cmp a/reward-model/s1/subset.jsonl kept/reward-model/s1/subset.jsonl

go a LEARNERS="reward-model ppo" SEEDS="1 2" || fail "more learners and seeds"
[ "$(wc -l <a/table.csv)" = 9 ] # 2 none, 2 random, 2 and 2 learners'
cmp a/reward-model/s1/final.st.zst kept/reward-model/s1/final.st.zst

# Killed between two files, and in the middle of one. (Provenance names the paths, which differ.)
go b -k RUN=false && fail "it cannot have run"
go b b/reward-model/s1/traj.1.st.zst || fail "an episode alone"
n_killed=0
for seconds in 0.001 0.003 0.006 0.01 0.015; do
    go b RUN="timeout -s KILL $seconds" || n_killed=$((n_killed + 1))
done
[ "$n_killed" -gt 0 ] || fail "it was too quick to be killed"
go b || fail "the killed run did not go on"
cmp a/reward-model/s1/subset.jsonl b/reward-model/s1/subset.jsonl
