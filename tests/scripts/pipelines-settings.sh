#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A folder is of one run: other settings and other inputs are refused with the difference, or on
# request exactly what depends on them is made anew; more episodes, seeds and methods are a longer
# run; content counts, not times, so that a copy is as fresh as its original.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

state() { find "$1" -type f ! -path '*/settings/*' ! -name .lock ! -name '.jobs*' -exec sha256sum {} + | sort -k2; }
subset() { cmp "$1/reward-model/s1/subset.jsonl" "$2/reward-model/s1/subset.jsonl"; }
differs() { # message variables...: refused, and nothing is touched
    local message=$1 before
    shift
    before=$(state a; cat a/settings/*)
    if go a "$@"; then fail "accepted: $*"; fi
    told "$message"
    [ "$(state a; cat a/settings/*)" = "$before" ] || fail "something changed: $*"
}
go a || fail "the run"
head -n 59 pool.jsonl >less.jsonl
cp pool.jsonl same.jsonl
cp "$model"/* "$(mkdir other && echo other)"
touch other/config.json
go a DATA=same.jsonl MODEL=other -q || fail "the same content under other names"
touch -d '+1 hour' pool.jsonl
go a -q || fail "a newer time"
sed -i 's/"rope_theta"/ "rope_theta"/' other/config.json
cp "$RAISE_TESTS/../pipelines/demo/demo.tmpl" t.tmpl
differs 'OUT=a: POOL=less.jsonl has other content' DATA=less.jsonl
differs 'MODEL=other has other content (files' MODEL=other
differs 'OUT=a: TEMPLATE was plain, is alpaca; LR was 3e-4, is 1e-2 (' TEMPLATE=alpaca LR=1e-2
differs 'STEPS was 2, is (empty)' STEPS=
differs 'EPISODES was 2, is 1 (' EPISODES=1
differs 'PPO_OPTS was (empty), is --memory 0.1 (' PPO_OPTS='--memory 0.1'
differs 'PPO_OPTS_reward-model was (empty), is --memory 0.1 (' PPO_OPTS_reward-model='--memory 0.1'
differs 'PLAN_random was (empty), is ifd (' PLAN_random=ifd
refuses 'REBUILD=no: yes, or nothing' a REBUILD=no

# Every command that would be another belongs to a file that is made anew.
commands() { go "$@" -n && sed "s/\b$1\//OUT\//g" log | grep -E 'raise-(embed|cluster|ppo|plan|rollout|export) .* -o ' | sort; }
made() { grep -oE -- '-o [^ ]*' | cut -d' ' -f2 | sort -u; }
commands n >as-it-was
for change in DRAW_OPTS='--on-error skip' VAL_LIMIT=5 TARGET_LIMIT=2 EMBED_OPTS=--fields\ x LIMIT=50 BATCH=5 \
    INIT_OPTS_reward-model='--without stage' ROLLOUT_OPTS_reward-model=--full PLAN_OPTS_random=--repeats; do
    commands n "$change" | comm -13 as-it-was - | made >wanted
    commands a "$change" | made >found
    [ -s wanted ] || fail "$change has no effect"
    [ -z "$(comm -23 wanted found)" ] || fail "$change: not made anew: $(comm -23 wanted found)"
done

# On request, exactly that.
cp -r a b
before=$(state b)
go b LR=1e-2 REBUILD=yes || fail "another rate"
told 'OUT=b: LR was 3e-4, is 1e-2 ('
[ "$(cat b/settings/LR)" = 1e-2 ]
changed=$(diff <(echo "$before") <(state b) | awk '{ print $3 }')
grep -qx b/random/s1/final.st.zst <<<"$changed" || fail "a last episode is as it was"
for f in s1/val.jsonl pool.st.zst features.st.zst reward-model/s1/policy.0.st.zst random/s1/plan.st.zst; do
    if grep -qx "b/$f" <<<"$changed"; then fail "$f was made anew"; fi
done
go fresh LR=1e-2 || fail "the other rate"
subset b fresh
cmp b/table.csv fresh/table.csv && cmp b/episodes.csv fresh/episodes.csv
go b LR=1e-2 -q || fail "something is left to do"
# also what is not asked for now, and whatever happens on the way
go a LEARNERS=ppo BASELINES=ifd || fail "other methods"
[ "$(cut -d, -f1 a/table.csv | tr '\n' ' ')" = "method ifd none ppo " ] || fail "the table has others"
if go a LEARNERS=ppo BASELINES=ifd LR=1e-2 REBUILD=yes RUN=false; then fail "nothing can have run"; fi
[ -z "$(find a/reward-model a/random -name traj.1.st.zst -o -name final.st.zst)" ] || fail "old ones are there"
cp -r a torn
go torn LR=1e-2 || fail "a copy of what was half rebuilt"
subset torn fresh
cmp torn/table.csv fresh/table.csv

# A longer run is that run; a shorter one is not in it.
go b LR=1e-2 EPISODES=3 || fail "another episode"
go fresh3 LR=1e-2 EPISODES=3 || fail "three episodes"
subset b fresh3
cmp b/episodes.csv fresh3/episodes.csv
if go b LR=1e-2; then fail "fewer episodes"; fi
told 'EPISODES was 3, is 2'
go b LR=1e-2 REBUILD=yes || fail "fewer episodes, on request"
subset b fresh
cmp b/table.csv fresh/table.csv && cmp b/episodes.csv fresh/episodes.csv

# A copy, with times in any order, and a clock that was set back.
cp -r b copy
touch copy/pool.st.zst copy/s1/val.jsonl
go copy LR=1e-2 -q || fail "a copy is not fresh"
touch -d '+1 day' copy/pool.st.zst
go copy LR=1e-2 -q || fail "files from the future"
rm copy/features.st.zst
if go copy LR=1e-2 -q; then fail "a missing file is not missed"; fi

# Nothing that is there depends on it: nobody need ask.
go new new/test.jsonl || fail "a file alone"
go new new/test.jsonl LR=1e-2 || fail "a setting that nothing was made with"
if go new new/test.jsonl LR=1e-2 TEST_LIMIT=3; then fail "a setting that a file was made with"; fi
rm -r new/settings && touch new/x.st.zst
if go new; then fail "a folder without its settings"; fi
told 'nothing that says with which settings'
