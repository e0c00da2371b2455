#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# FALLBACK: of the learned choice and those that it is held against, the one with the least validation
# loss is kept, with its adapter; what that cost is counted, and that it was not the learned one is said.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

loss_of() { raise-view --table perf "$1" | awk 'END { printf "%.17g", -$NF }'; }
last() { echo "a/$1/s1/final.st.zst"; }
go a LEARNERS='reward-model alone' LEARNER_alone=reward-model FALLBACK_alone= TARGET_LIMIT=3 BASELINES=random || fail "the run"

# prior is run for it, and is no row of the table; who has no fallback keeps what was learned.
[ "$(cut -d, -f1 a/table.csv | tr '\n' ' ')" = 'method alone none random reward-model ' ] || fail "rows: $(cat a/table.csv)"
for t in pick perf; do # its file names its policy
    cmp <(raise-view --table $t "$(last alone)") <(raise-view --table $t a/reward-model/s1/learned/final.st.zst)
done
[ ! -e a/alone/s1/kept.csv ] && [ ! -e a/alone/s1/learned ]
learned=a/reward-model/s1/learned/final.st.zst
[ "$(cut -d, -f1-3 a/reward-model/s1/kept.csv | tr '\n' ' ')" = 'reward-model,1,learned reward-model,1,prior ' ]
awk -F, -v a="$(loss_of $learned)" -v b="$(loss_of "$(last prior)")" '{ want = NR == 1 ? a : b; d = $4 - want
    if (d * d > 1e-12 || $5 != (NR == 1 ? a <= b : b < a)) exit 1 }' a/reward-model/s1/kept.csv || fail "$(cat a/reward-model/s1/kept.csv)"

# Both ways, and the learned one of equals.
better=$learned worse=$(last prior)
if [ "$(awk -F, '$5 { print $3 }' a/reward-model/s1/kept.csv)" = prior ]; then better=$worse worse=$learned; fi
keep() { # learned other...
    mkdir -p x/m/s7/learned
    cp -r "${1%/*}/adapter" "$1" x/m/s7/learned/
    shift
    bash "$pipelines/fallback.sh" "$RAISE_BUILD/" x/m/s7/final.st.zst x/m/s7/learned/final.st.zst "$@"
}
is_kept() { # file
    cmp "$1" x/m/s7/final.st.zst && diff -r "${1%/*}/adapter" x/m/s7/adapter
}
if cmp -s "$better" "$worse" || cmp -s "${better%/*}/adapter/adapter_model.safetensors" "${worse%/*}/adapter/adapter_model.safetensors"; then
    fail "nothing to tell apart"
fi
# OTHER's name is its folder's.
place() { mkdir -p "y/$1/s7" && cp -r "${2%/*}/adapter" "$2" "y/$1/s7/" && echo "y/$1/s7/final.st.zst"; }
other=$(place other "$better")
if ! keep "$worse" "$other" || ! is_kept "$better"; then fail "the worse one"; fi
[ "$(cut -d, -f1-3,5 x/m/s7/kept.csv | tr '\n' ' ')" = 'm,7,learned,0 m,7,other,1 ' ]
[ "$(awk -F, -f "$pipelines/kept.awk" x/m/s7/kept.csv)" = \
    'm: in 1 of 1 seeds the choice of other was kept, which ended with less validation loss than the learned one.' ]
if ! keep "$better" "$(place other "$worse")" || ! is_kept "$better"; then fail "the worse one"; fi
keep "$better" "$(place other "$better")" || fail "equals"
[ "$(cut -d, -f5 x/m/s7/kept.csv | tr '\n' ' ')" = '1 0 ' ] || fail "$(cat x/m/s7/kept.csv)"
[ -z "$(awk -F, -f "$pipelines/kept.awk" x/m/s7/kept.csv)" ] || fail "said of a learned choice"

# What did not end well is not kept; where none did, the learned one is, and the run fails as it would.
go b LEARNERS= BASELINES=random LR=1e30 || :
bad=b/random/s1/final.st.zst
[ "$(raise-view --meta raise.status $bad)" != ok ] || fail "it ended well"
mkdir -p "${bad%/*}/adapter"
if ! keep $bad "$(place other "$worse")" || ! is_kept "$worse"; then fail "what diverged"; fi
[ "$(head -n 1 x/m/s7/kept.csv)" = m,7,learned,,0 ] || fail "$(cat x/m/s7/kept.csv)"
if ! keep $bad || ! cmp $bad x/m/s7/final.st.zst; then fail "none ended well"; fi

# The learned choice's episode and the prior's count as episodes.
trained=$(for t in a/reward-model/s1/traj.*.st.zst $learned "$(last prior)"; do raise-view --table n_tokens "$t"; done | awk '{ n += $1 } END { print n }')
[ "$(awk -F, '$1 == "reward-model" && $3 == "episodes" { print $5 }' a/costs.csv)" = "$trained" ] || fail "costs"

# Another rule is another result.
if go a LEARNERS='reward-model alone' LEARNER_alone=reward-model FALLBACK_alone= TARGET_LIMIT=3 BASELINES=random FALLBACK=; then fail "other settings"; fi
told FALLBACK_OF_reward-model

# So is what has to be known for it: RDS embeds the validation records.
features() { awk -F, '$1 == "reward-model" && $3 == "features" { print $4 }' "$1/costs.csv"; }
go c TARGET_LIMIT=3 FALLBACK='prior rds' || fail "two of them"
[ "$(cut -d, -f3 c/reward-model/s1/kept.csv | tr '\n' ' ')" = 'learned prior rds ' ]
[ "$(features c)" = "$(awk -v s="$(features a)" '{ print s + $2 + $3 }' c/s1/val.tokens)" ] || fail "$(features a) $(features c)"

# A pool that is smaller than what is drawn is gone through again, by a plan as by a policy.
go d TARGET_LIMIT=3 LIMIT=10 STEPS=3 EPISODES=1 || fail "a small pool"
[ "$(raise-view --table pick d/prior/s1/final.st.zst | tail -n +2 | sort -u | wc -l)" = 10 ]
