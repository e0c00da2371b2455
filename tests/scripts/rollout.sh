#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-rollout: the whole loop on a tiny model; the same bytes again; adapter and model that are
# saved have the loss that was measured; what does not belong together is refused; a failure
# leaves nothing behind.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
records pool 90 >pool.jsonl
records val 12 >val.jsonl
records test 12 >test.jsonl
raise-embed -q -m "$model" --template plain -t 1 -d 8 pool.jsonl | raise-cluster -q -k 2 -t 1 - >f.st.zst
raise-ppo -q --init -f f.st.zst -o p.st.zst
loud() { # options...
    raise-rollout -t 1 -f f.st.zst -m "$model" -d "${data:-pool.jsonl}" --val "${val:-val.jsonl}" --template plain \
        --batch 6 --lr 1e-2 --lora-rank 4 --precision fp32 "$@"
}
go() { loud -q "$@"; }
meta() { raise-view --meta "$2" "$1"; }
same() { # two numbers, to a relative 1e-6
    awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a == a + 0 && (d < 0 ? -d : d) <= 1e-6 * (a < 0 ? -a : a)) }'
}

# twice the same bytes, with other threads too; another episode or seed draws others
go -p p.st.zst --steps 4 -o 1.st.zst
go -p p.st.zst --steps 4 >2.st.zst
cmp 1.st.zst 2.st.zst
go -p p.st.zst --steps 2 --batch 30 --full --precision fp32 -o 1f.st.zst
go -p p.st.zst --steps 2 --batch 30 --full --precision fp32 -t 3 -o 2f.st.zst
cmp 1f.st.zst 2f.st.zst
# nor does it matter what outputs are called, nor by which of its names an option is
go -p p.st.zst --steps 2 --lr 2e-2 --episode 0 --metrics one.csv --save-adapter one -o n1
go -p p.st.zst -T2 --learning_rate=2e-2 -k 0 --metrics other.csv --save-adapter other -o n2
cmp n1 n2
raise-view --history n2 | grep -q -- 'raise-rollout .*--steps 2 --lr 2e-2 --episode 0 <- '
go -p p.st.zst --steps 4 --episode 1 -o 3.st.zst
raise-view --table pick 1.st.zst >1.picks
[ "$(sort -u 1.picks | wc -l)" = 25 ] # no repeats, and the heading
if raise-view --table pick 3.st.zst | cmp -s - 1.picks; then exit 1; fi
go -p p.st.zst --steps 4 --greedy --deploy -o 4.st.zst
[ "$(meta 4.st.zst raise.mode)" = greedy ]
go -p p.st.zst --steps 4 --repeats -s 7 -o 5.st.zst
[ "$(meta 5.st.zst raise.repeats)" = 1 ]

# a third of the steps warm up
go -p p.st.zst --steps 7 -o 9.st.zst
raise-view --table lr 9.st.zst | tail -n +2 | tr '\n' ' ' | grep -qx '0.005 0.01 0.01 0.01 0.01 0.01 0.01 '

# every step has a whole batch: what is left of a round, and the first of the next one
head -n 6 pool.jsonl >six.jsonl
raise-embed -q -m "$model" --template plain -t 1 -d 8 six.jsonl | raise-cluster -q -k 2 -t 1 - >f6
raise-ppo -q --init -f f6 -o p6
data=six.jsonl go -f f6 -p p6 --batch 4 --steps 3 -o r6
raise-view --table pick r6 | awk 'NR > 1 { print int((NR - 2) / 4), $1 }' | sort -u >r6.picks
[ "$(wc -l <r6.picks)" = 12 ] # no record twice in a step
[ "$(cut -d ' ' -f 2 r6.picks | sort | uniq -c | awk '{ print $1 }' | sort -u)" = 2 ]
raise-ppo -q -f f6 -p p6 -o q6 r6 # its probabilities are the policy's

# the next policy, the final run, the subset
raise-ppo -q -f f.st.zst -p p.st.zst -o p1.st.zst 1.st.zst
go -p p1.st.zst --steps 3 --deploy --test test.jsonl --metrics m.csv --save-adapter adapter \
    --save-model model -o final.st.zst
[ "$(head -n 1 m.csv)" = step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss ]
[ "$(wc -l <m.csv)" = 5 ]
loud -p p1.st.zst --steps 1 --save-model again -o x.st.zst 2>err # what saving takes is planned
grep -q '^raise-rollout: memory: .*, saving [0-9.]* KiB' err
loud -p p1.st.zst --steps 1 -o x.st.zst 2>err
if grep -q 'saving' err; then exit 1; fi
after=$(meta final.st.zst raise.test_loss)
same "$after" "$(tail -n 1 m.csv | cut -d, -f9)"
same "$(raise-view --table perf final.st.zst | tail -n 1 | tr -d -)" "$(tail -n 1 m.csv | cut -d, -f3)"
# ppo draws its final run; a policy with weights gives its best records, shuffled, or draws, too
[ "$(meta final.st.zst raise.mode)" = sample ]
raise-embed -q -m "$model" --template plain -t 1 -d 8 --target test.jsonl --target-lr 1e-2 pool.jsonl |
    raise-cluster -q -k 2 -t 1 - >known.st.zst
raise-ppo -q --init --learner reward-model -f known.st.zst -o w.st.zst
for i in 1 2; do go -f known.st.zst -p w.st.zst --steps 3 --deploy --episode $i -o best$i.st.zst; done
[ "$(meta best1.st.zst raise.mode)" = best ]
go -f known.st.zst -p w.st.zst --steps 3 --deploy --draw -o drawn.st.zst
[ "$(meta drawn.st.zst raise.mode)" = sample ]
go -f known.st.zst -p w.st.zst --steps 3 -o pairs.st.zst
[ "$(meta pairs.st.zst raise.mode)" = pairs ]
[ "$(raise-view --table list_logp pairs.st.zst | tail -n +2 | sort -u)" = 0 ] # nothing was drawn
picks() { raise-view --table pick "$1" | tail -n +2; }
if cmp -s <(picks best1.st.zst) <(picks best2.st.zst); then exit 1; fi
cmp <(picks best1.st.zst | sort) <(picks best2.st.zst | sort)
raise-export -q -o subset.jsonl final.st.zst pool.jsonl
[ "$(wc -l <subset.jsonl)" = 18 ]

# the features' template and length are the episode's; others are refused, where it makes a
# difference
on_six() { # options...
    raise-rollout -t 1 -m "$model" --lora-rank 4 --batch 2 --steps 1 -d six.jsonl --val val.jsonl -o w "$@" 2>err
}
contradicts() { # pattern options...
    local pattern=$1
    shift
    if on_six "$@"; then exit 1; fi
    grep -q "^raise-rollout: f6.*: made with $pattern\$" err
}
contradicts 'template plain, training is with none' -f f6 -p p6 --template none
contradicts '--max-length 512, training is with 15, and its longest record has [0-9]* tokens' -f f6 -p p6 --max-length 15
on_six -f f6 -p p6 --template plain --max-length 100
on_six -f f6 -p p6
grep -q '^raise-rollout: template: plain, as of f6$' err
# a template in a file is known by its text, whatever the file is called
printf '[user]\n{user}\\n\n[assistant]\n{assistant}\n' >one.tmpl
cp one.tmpl two.tmpl
raise-embed -q -m "$model" --template one.tmpl -t 1 -d 8 -o f6.file six.jsonl
raise-ppo -q --init -f f6.file -o p6.file
on_six -f f6.file -p p6.file --template two.tmpl
printf '[user]\n{user}:\\n\n[assistant]\n{assistant}\n' >two.tmpl
contradicts 'template one.tmpl, training is with two.tmpl' -f f6.file -p p6.file --template two.tmpl
cp two.tmpl one.tmpl
contradicts 'another template by the name of one.tmpl' -f f6.file -p p6.file --template one.tmpl
raise-embed -q -m "$model" --template plain -t 1 -d 8 --max-length 15 --overlong cut -o f6.cut six.jsonl
raise-ppo -q --init -f f6.cut -o p6.cut
contradicts '--max-length 15, training is with 512, and its longest record has 15 tokens' -f f6.cut -p p6.cut --max-length 512
on_six -f f6.cut -p p6.cut
grep -q '^raise-rollout: warning: val.jsonl: [0-9]* records cut to 15 tokens$' err

# what was saved has the loss that was measured
go -p p.st.zst --steps 1 --adapter adapter --test test.jsonl -o 6.st.zst
same "$after" "$(meta 6.st.zst raise.test_loss_before)"
raise-rollout -q -t 1 -f f.st.zst -m model -d pool.jsonl --val val.jsonl --template plain --full --lr 1e-4 --precision fp32 \
    --schedule cosine --weight-decay 0.1 --batch 6 --steps 2 -p p.st.zst --test test.jsonl -o 7.st.zst
same "$after" "$(meta 7.st.zst raise.test_loss_before)"

# a plan is trained on as it stands; small pieces of work make the same steps
raise-plan -q --steps 4 --batch 6 -f f.st.zst -o plan.st.zst random
go --plan plan.st.zst -o 8.st.zst
raise-view --table pick plan.st.zst >plan.picks
raise-view --table pick 8.st.zst | cmp - plan.picks
[ "$(meta 8.st.zst raise.mode)" = plan ]
go --plan - <plan.st.zst -o 8b.st.zst
for f in 8 8b; do raise-view $f.st.zst | sed -n 's/^ *input \(plan.st.zst\|-\) //p' >$f.plan; done
raise-view plan.st.zst | sed -n 's/^  identity //p' >plan.id
cmp 8.plan plan.id
cmp 8b.plan plan.id
go --plan plan.st.zst --micro-batch 8 -o 9.st.zst
same "$(raise-view --table perf 8.st.zst | tail -n 1 | tr -d -)" "$(raise-view --table perf 9.st.zst | tail -n 1 | tr -d -)"
go --plan plan.st.zst --steps 2 --val-limit 3 --lora-targets q_proj,v -o 10.st.zst
[ "$(meta 10.st.zst raise.n_steps)" = 2 ]

# what the model sees
raise-rollout --show 2 -m "$model" -d pool.jsonl --template plain >shown
grep -q '^pool.jsonl:1: record 0: 7 prompt and 8 response tokens$' shown
[ "$(grep -c '\*' shown)" -ge 16 ]

# an episode that diverges is an outcome: written as such, with the picks that did it, and
# nothing else; the next one can be learned from beside it
loud -p p.st.zst --steps 4 --test test.jsonl --lr 1e30 --clip 0 --warmup 0 -o d.st.zst --metrics d.csv \
    --save-adapter d.adapter 2>err
grep -q 'the episode diverged: step 1: validation: val.jsonl:1: record 0: the loss is not finite; the batch: pool.jsonl lines [0-9, ]*;' err
grep -q 'd.adapter: not written$' err
[ "$(meta d.st.zst raise.status)" = 'diverged at step 1: validation: val.jsonl:1: record 0: the loss is not finite' ]
[ "$(meta d.st.zst raise.n_steps)" = 4 ]
[ ! -e d.adapter ]
[ "$(wc -l <d.csv)" = 2 ] # the heading, and the model before the first step
# a loss by that name, above zero
[ "$(raise-view --table loss 8.st.zst | tail -n +2)" = "$(raise-view --table perf 8.st.zst | tail -n +2 | tr -d -)" ]
[ "$(raise-view --table loss 8.st.zst | head -n 1)" = loss ]
if meta d.st.zst raise.test_loss; then exit 1; fi
[ "$(raise-view --table perf d.st.zst | grep -c nan)" = 4 ]
[ "$(raise-view --table pick d.st.zst | wc -l)" = 7 ]
raise-view d.st.zst | grep -q '^  the episode diverged at step 1: '
go -p p.st.zst --steps 4 --episode 1 --lr 1e30 --clip 0 --warmup 0 -o d2.st.zst 2>err
raise-ppo -f f.st.zst -p p.st.zst --no-provenance -o d1.st.zst 1.st.zst d.st.zst 2>err
grep -q 'd.st.zst: left out: diverged at step 1: ' err
raise-ppo -f f.st.zst -p p.st.zst --no-provenance 1.st.zst | cmp - d1.st.zst
raise-ppo -f f.st.zst -p p.st.zst -o d1.st.zst d.st.zst d2.st.zst 2>err
grep -q 'none of 2 episodes ended well .* the policy is written as it was$' err
raise-view d1.st.zst | sed -n 's/^  identity //p' >d1.id
raise-view p.st.zst | sed -n 's/^  identity //p' | cmp - d1.id
raise-export -o d.jsonl d.st.zst pool.jsonl 2>err
grep -q 'd.st.zst: the episode did not end well: diverged at step 1: ' err

# rewards of two targets do not teach one policy
go -p p.st.zst --steps 4 --episode 2 --val-limit 6 -o v.st.zst
if raise-ppo -f f.st.zst -p p.st.zst -o v1.st.zst 1.st.zst v.st.zst 2>err; then exit 1; fi
grep -q '^raise-ppo: 1.st.zst and v.st.zst: of different validation sets: ' err
awk 'BEGIN { for (s = "x"; length(s) < 128; s = s s); printf "{\"prompt\":\"p\",\"completion\":\"%s\"}\n", s }' >far.jsonl
val=far.jsonl go -p p.st.zst --steps 4 --episode 2 -o u.st.zst
val=far.jsonl go -p p.st.zst --steps 4 --episode 3 --max-length 100 -o v.st.zst
if raise-ppo -f f.st.zst -p p.st.zst -o v1.st.zst u.st.zst v.st.zst 2>err; then exit 1; fi
grep -q '^raise-ppo: u.st.zst and v.st.zst: of different encodings of the validation set' err
go -p p.st.zst --steps 4 --episode 2 --adapter adapter -o v.st.zst
if raise-ppo -f f.st.zst -p p.st.zst -o v1.st.zst 1.st.zst v.st.zst 2>err; then exit 1; fi
grep -q '^raise-ppo: 1.st.zst and v.st.zst: of different adapters: ' err

# refusals: one line, exit 1, nothing left
refused() { # pattern options...
    local pattern=$1 status=0
    shift
    mkdir none
    (go "$@" -o none/x.st.zst --metrics none/m.csv --save-adapter none/adapter) 2>err || status=$?
    [ "$status" = 1 ] || { echo "exit status $status"; cat err; return 1; }
    if [ "$(wc -l <err)" != 1 ] || ! grep -q "$pattern" err; then cat err; return 1; fi
    rm -f none/m.csv # a log: rows that were written stay
    [ -z "$(ls -A none)" ] || { ls -A none; return 1; }
    rmdir none
}
{ cat val.jsonl && sed -n 5p pool.jsonl; } >leak.jsonl
val=leak.jsonl refused '^raise-rollout: leak.jsonl:13: record 12: is also pool.jsonl:5: record 4$' -p p.st.zst
head -n 2 val.jsonl >leak2.jsonl
refused '^raise-rollout: leak2.jsonl:1: record 0: is also val.jsonl:1: record 0$' -p p.st.zst --test leak2.jsonl
refused '90 rows are fewer than a batch of 91$' -p p.st.zst --batch 91
sed 's/pool 4"/pool four"/' pool.jsonl >other.jsonl
data=other.jsonl refused '^raise-rollout: other.jsonl: not the dataset that f.st.zst was made from$' -p p.st.zst
raise-embed -q -m "$model" --template plain -t 1 -d 4 pool.jsonl >g.st.zst
refused '^raise-rollout: p.st.zst: made for other features than g.st.zst$' -p p.st.zst -f g.st.zst
refused '^raise-rollout: plan.st.zst: made for other features than g.st.zst$' --plan plan.st.zst -f g.st.zst
refused '^raise-rollout: plan.st.zst: has 4 steps, --steps asks for 5$' --plan plan.st.zst --steps 5
refused '^raise-rollout: f.st.zst: expected policy, found features$' -p f.st.zst
head -c 300 p.st.zst >cut.st.zst
refused 'cut.st.zst: ' -p cut.st.zst
awk 'BEGIN { for (s = "x"; length(s) < 128; s = s s); printf "{\"prompt\":\"%s\",\"completion\":\"1\"}\n", s }' >far.jsonl
val=far.jsonl refused '^raise-rollout: far.jsonl: none of 1 records has a response token within 100 tokens$' -p p.st.zst --max-length 100
if go -p p.st.zst --steps 1 >/dev/full 2>err; then exit 1; fi
grep -q 'No space left on device' err
