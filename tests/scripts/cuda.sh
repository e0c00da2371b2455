#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The programs on a GPU, which here is simulated: scores, an episode's losses and rewards near the
# CPU's, the same bytes again; memory; devices and plugins that are missing or another's.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
export RAISE_CUDA_PLUGIN=$RAISE_BUILD/tests/host-cuda.so
records pool 24 >pool.jsonl
records val 4 >val.jsonl
embed() { raise-embed -m "$model" --template plain -d 8 "$@" pool.jsonl; }
go() { # options...
    raise-rollout -f f.st.zst -p p.st.zst -m "$model" -d pool.jsonl --val val.jsonl \
        --template plain --batch 4 --steps 3 --lr 1e-2 --lora-rank 4 "$@"
}
fails() { # status pattern command...
    local want=$1 pattern=$2 status=0
    shift 2
    "$@" >/dev/null 2>err || status=$?
    if [ "$status" = "$want" ] && grep -q -- "$pattern" err; then return; fi
    echo "status $status:"
    cat err
    exit 1
}
# The columns of two tables agree to `$3` of the largest value.
near() { # table table bound
    paste -d, "$1" "$2" | awk -F, -v bound="$3" '
        NR > 1 { for (i = 1; i <= NF / 2; i++) { d = $i - $(i + NF / 2); d = d < 0 ? -d : d
            m = $i < 0 ? -$i : $i; if (d > worst) worst = d; if (m > most) most = m } }
        END { if (!(worst <= bound * most)) { print "off by " worst " of " most; exit 1 } }'
}

embed -q --device cpu --precision fp32 -o cpu.f.st.zst
embed -q --device cuda -o gpu.f.st.zst
for t in logp_yx logp_y embedding; do
    raise-view --table $t cpu.f.st.zst >a && raise-view --table $t gpu.f.st.zst >b
    near a b 0.02
done
raise-view gpu.f.st.zst | grep -q 'cuda-bf16-simulated' # the arithmetic path
raise-cluster -q -k 2 -t 1 cpu.f.st.zst >f.st.zst
raise-ppo -q --init -f f.st.zst -o p.st.zst

# the same choices; losses within bf16's rounding of the mean of a handful of tokens
go -q --device cpu --precision fp32 -o cpu.st.zst
go -q --device cuda --no-provenance -o 1.st.zst
go -q --device cuda --no-provenance -o 2.st.zst
cmp 1.st.zst 2.st.zst
raise-view --table pick cpu.st.zst >a && raise-view --table pick 1.st.zst | cmp - a
raise-view --table perf cpu.st.zst >a && raise-view --table perf 1.st.zst >b
near a b 0.01

# auto takes it; recomputing changes nothing but the memory
go --no-provenance -o 3.st.zst 2>err
grep -q 'available on the GPU' err
go -q --no-provenance --recompute -o 4.st.zst
cmp 1.st.zst 3.st.zst
cmp 1.st.zst 4.st.zst

# memory: smaller pieces by themselves; refused with numbers before anything is loaded
RAISE_SIM_MEMORY=60000000 go -o 5.st.zst 2>err
grep -q 'micro-batch of 16384 tokens does not fit: [0-9]* instead' err
RAISE_SIM_MEMORY=60000000 embed -o 5.f.st.zst 2>err
grep -q 'micro-batch of 16384 tokens does not fit: [0-9]* instead' err
RAISE_SIM_MEMORY=60000000 RAISE_SIM_TAKEN=26100000 embed -o 5.f.st.zst 2>err # taken since
[ "$(grep -c 'warning: out of memory: micro-batches of [0-9]* tokens from here on$' err)" = 1 ]
RAISE_SIM_MEMORY=33600000 fails 1 'needs [0-9.]* MiB of memory and [0-9.]* MiB are available' go

# devices
fails 1 'device 3: there is no such device' go --device cuda:3
fails 1 'works in bf16 only' go --device cuda --precision fp32
RAISE_SIM_DEVICES=0 fails 1 'device 0: there is no such device' go --device cuda
RAISE_SIM_DEVICES=0 go -v --steps 1 -o 6.st.zst 2>err
grep -q 'the CPU is used: cuda: device 0' err
RAISE_SIM_DEVICES=0 go --steps 1 -o 6.st.zst 2>err
if grep -q 'the CPU is used' err; then exit 1; fi
export RAISE_CUDA_PLUGIN=$RAISE_BUILD/tests/old-cuda.so
fails 1 'is of version 0.0.1, this program of' go --device cuda
go --steps 1 -o 7.st.zst 2>err
grep -q 'warning: the CPU is used: cuda: plugin .* is of version 0.0.1' err
RAISE_CUDA_PLUGIN=/nowhere/x.so fails 1 '/nowhere/x.so: No such file' go --device cuda
